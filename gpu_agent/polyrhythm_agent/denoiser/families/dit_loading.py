"""Loads a DiT pipeline folder part by part, through diffusers.

Owns which part is read how, and where the names of the classes are: in the index, beside the parts.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel

from polyrhythm_agent.denoiser.decoding import LatentScaling
from polyrhythm_agent.denoiser.families.dit import DiTDenoiser, DiTParts
from polyrhythm_agent.denoiser.files.diffusers_parts import load_denoiser_part, part_on_demand
from polyrhythm_agent.denoiser.files.fitting import require_autoencoder
from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.denoiser.files.trained_size import require_trained_side
from polyrhythm_agent.denoiser.sampling.sampling import ModelSampling
from polyrhythm_agent.denoiser.sampling.scheduler_file import scheduler_config
from polyrhythm_agent.denoiser.text.class_labels import ClassLabels

LABELS = "id2label"


def load_dit(folder: ModelFolder, *, model: str, dtype: torch.dtype, device: torch.device) -> DiTDenoiser:
    """Loads transformer and the names of the classes; the autoencoder when it is first used.

    Raises:
        ModelFolderError: a part is missing, incomplete, or asks for something that this project does not have.
    """
    sampling = ModelSampling(scheduler_config(folder))
    vae = part_on_demand(AutoencoderKL, folder, "vae", dtype=dtype, device=device)
    scaling = LatentScaling.read(vae.outline.config, by_channel=False)
    require_trained_side(folder, "transformer")
    transformer, outside = load_denoiser_part(DiTTransformer2DModel, folder, "transformer", dtype=dtype, device=device)
    require_autoencoder(folder, vae.outline, transformer.config["in_channels"])
    parts = DiTParts(
        transformer=transformer,
        vae=vae,
        scaling=scaling,
        sampling=sampling,
        fingerprint=folder.fingerprint("transformer", "vae", "scheduler", settings=(LABELS,)),
        labels=ClassLabels.read(folder.index.get(LABELS), transformer.config["num_embeds_ada_norm"]),
    )
    denoiser = DiTDenoiser(model=model, parts=parts)
    if outside is not None:
        denoiser.facts = outside.send_out(denoiser.facts)
    return denoiser
