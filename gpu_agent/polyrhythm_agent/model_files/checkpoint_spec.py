"""What a single-file checkpoint says of itself by its metadata, and by tensors that are no weights. No torch.

Owns the meaning of these marks, as far as a header shows them. Metadata are those of Stability AI's ModelSpec, whose
names begin with ``modelspec.``. A file that says two things at once is not believed at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.checkpoint_file import OPEN_CLIP_OF_SD_2, CheckpointHeader

NOTICES_FILE = "checkpoint_notices.json"
"""In a folder that was made for a checkpoint: what its users are to know of how it was read, a list of ``notices``."""

EPSILON, VELOCITY = "epsilon", "v_prediction"
"""What a model predicts, noise or velocity, as diffusers names it."""

VELOCITY_MARK, ZERO_SIGNAL_MARK = "v_pred", "ztsnr"
EDM_MEAN_MARK, EDM_DEVIATION_MARK = "edm_mean", "edm_std"
EDM_VELOCITY_MARK = "edm_vpred.sigma_max"
PREDICTION_BY_TENSOR: Mapping[str, str] = {
    VELOCITY_MARK: VELOCITY,
    EDM_VELOCITY_MARK: VELOCITY,
    EDM_MEAN_MARK: EPSILON,
    EDM_DEVIATION_MARK: EPSILON,
}

PREDICTION, ARCHITECTURE = "modelspec.prediction_type", "modelspec.architecture"
PREDICTION_BY_VALUE: Mapping[str, str] = {"epsilon": EPSILON, "v": VELOCITY, "v_prediction": VELOCITY}
PREDICTION_BY_ARCHITECTURE: Mapping[str, str] = {
    "stable-diffusion-v2-512": EPSILON,
    "stable-diffusion-v2-768-v": VELOCITY,
}
SD_1, SD_2, SDXL = "stable-diffusion-v1", "stable-diffusion-v2", "stable-diffusion-xl-v1"
"""How architectures begin that are known here; what comes after it names a kind, such as ``-base``."""

LAYER, LAYER_BY_BASE = "modelspec.encoder_layer", {SD_1: "1", SD_2: "2", SDXL: "2"}
"""The layer of the text encoder that a model was trained with, counted from the last one; that which is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a checkpoint says of itself.

    Attributes:
        prediction: ``EPSILON`` or ``VELOCITY``; None where it does not say.
        marks: that say so, by name, for people.
        notices: what it says and what is not followed.
    """

    prediction: str | None
    marks: tuple[str, ...]
    notices: tuple[str, ...]


def base_of(header: CheckpointHeader) -> str:
    """The architecture that a checkpoint's tensors are those of: ``SD_1``, ``SD_2`` or ``SDXL``.

    Raises:
        ModelFolderError: it is none that can be read.
    """
    if header.pipeline_class() == "StableDiffusionXLPipeline":
        return SDXL
    return SD_2 if header.has(OPEN_CLIP_OF_SD_2) else SD_1


def said_by(header: CheckpointHeader) -> Said:
    """What a checkpoint says of itself.

    Raises:
        ModelFolderError: it contradicts itself, or what it says is not known here; names the marks.
    """
    base = base_of(header)
    architecture, value, layer = (
        header.metadata.get(key, "").strip().lower() for key in (ARCHITECTURE, PREDICTION, LAYER)
    )
    other = next((known for known in (SD_1, SD_2, SDXL) if architecture.startswith(known) and known != base), None)
    if other is not None:
        raise ModelFolderError(f"its {ARCHITECTURE} is {architecture}, and its tensors are those of {base}")
    if value and value not in PREDICTION_BY_VALUE:
        raise ModelFolderError(f"its {PREDICTION} is {value}; known are {', '.join(PREDICTION_BY_VALUE)}")
    votes = {mark: kind for mark, kind in PREDICTION_BY_TENSOR.items() if mark in header.tensors}
    if value:
        votes[f"{PREDICTION} {value}"] = PREDICTION_BY_VALUE[value]
    for name, kind in PREDICTION_BY_ARCHITECTURE.items():
        if architecture.startswith(name):
            votes[f"{ARCHITECTURE} {architecture}"] = kind
    if len(kinds := set(votes.values())) > 1:
        told = ", ".join(f"{mark} says {kind}" for mark, kind in votes.items())
        raise ModelFolderError(f"it contradicts itself: {told}")
    notices = (
        (f"the checkpoint was trained with layer {layer} of its text encoder ({LAYER}); {LAYER_BY_BASE[base]} is read",)
        if layer and layer != LAYER_BY_BASE[base]
        else ()
    )
    return Said(prediction=next(iter(kinds), None), marks=tuple(votes), notices=notices)
