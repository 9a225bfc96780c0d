"""Model folders in diffusers format to denoisers, by the pipeline class that their index names.

Owns the typed refusal of folders that cannot be used. Safetensors only, nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from polyrhythm.codec.model import MODEL
from polyrhythm.errors import InvalidArgumentError, WireError
from polyrhythm.model.facts import ModelFacts
from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.denoiser.guided_run import state_dtype_of
from polyrhythm_agent.denoiser.model_code import model_code
from polyrhythm_agent.denoiser.operators.install import AskedOperators
from polyrhythm_agent.denoiser.operators.plain import PLAIN
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.families import known_families
from polyrhythm_agent.ports.denoiser import Denoiser
from polyrhythm_agent.ports.operators import Operators

FamilyLoader = Callable[..., Denoiser]
"""``load(folder: ModelFolder, *, model: str, dtype: torch.dtype, device: torch.device) -> Denoiser``."""

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Arithmetic that a denoiser may be loaded in, by the name in its facts."""


def exchange_dtype_of(name: str, denoiser: Denoiser) -> torch.dtype:
    """In which a denoiser's activations travel in a gang whose coordinator named it.

    Raises:
        InvalidArgumentError: it is none, or x and x0 of such a gang would travel in another dtype than the denoiser's.
    """
    dtype = DTYPES.get(name)
    if dtype is None:
        raise InvalidArgumentError.of("exchange_dtype", f"must be one of {', '.join(DTYPES)}, got {name!r}")
    if state_dtype_of(dtype) is not denoiser.state_dtype:
        message = f"{name} cannot be mixed with arithmetic in {denoiser.facts.dtype}"
        raise InvalidArgumentError.of("exchange_dtype", message)
    return dtype


def load_denoiser(
    path: Path,
    *,
    model: str,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    offload: bool = False,
    operators: Operators = PLAIN,
) -> Denoiser:
    """Loads a local folder in diffusers format.

    Args:
        path: the folder that holds ``model_index.json``.
        model: name under which requests ask for it.
        dtype: arithmetic of all parts.
        device: where to; the CPU if None.
        offload: whether the denoiser's weights are to stay outside of the device's memory; families that cannot do
            that load as ever, and their facts say so.
        operators: what computes the denoiser's products.

    Raises:
        ModelFolderError: the folder is missing, is no pipeline, has no safetensors, or is of no known family, or its
            family's code cannot be imported or computes products of its own, or its configs say what no model can be
            made of, or no message carries.
        OutOfMemoryError: there is no memory for it.
    """
    asked = AskedOperators(operators)
    folder = ModelFolder.open(path, offload=offload, operators=asked)
    load = _family_loader(folder)
    with model_code(lambda told: ModelFolderError(f"model: {path} cannot be loaded: {told}")):
        denoiser = load(folder, model=model, dtype=dtype, device=device or torch.device("cpu"))
    if not asked.layers:  # or it would run unchecked where checks are asked for, and nobody would know
        raise ModelFolderError(f"model: the loader of {folder.pipeline_class} installs no operators")
    _require_carried(path, denoiser.facts)
    return denoiser


def _require_carried(path: Path, facts: ModelFacts) -> None:
    """Checks that a coordinator can be told of a model; else every worker that holds it would be ended for nonsense.

    Raises:
        ModelFolderError: some of its sizes are beyond what messages carry.
    """
    try:
        MODEL.from_proto(MODEL.to_proto(facts))
    except (WireError, ValueError, TypeError) as error:  # protobuf raises the latter two
        raise ModelFolderError(f"model: {path} has sizes that no model has: {error}") from error


def _family_loader(folder: ModelFolder) -> FamilyLoader:
    """The loader of the folder's family; no other family's code is imported."""
    families = known_families()
    family = families.get(folder.pipeline_class)
    if family is None:
        raise ModelFolderError(
            f"model: {folder.path} is a {folder.pipeline_class!r}; known pipelines: {', '.join(sorted(families))}"
        )
    try:
        return family.load()
    except (ImportError, AttributeError) as error:
        raise ModelFolderError(f"model: the loader of {family.name}, {family.value}, is not there: {error}") from error
