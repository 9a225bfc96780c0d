"""Model folders in diffusers format to denoisers, by the pipeline class that their index names.

Owns the registry of families and the typed refusal of folders that cannot be used. Safetensors only,
nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import torch

from polyrhythm_agent.denoiser.folder import ModelFolder
from polyrhythm_agent.denoiser.pixart_loading import load_pixart
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.ports import Denoiser

FamilyLoader = Callable[..., Denoiser]
"""``load(folder: ModelFolder, *, model: str, dtype: torch.dtype, device: torch.device) -> Denoiser``."""

FAMILIES_GROUP = "polyrhythm.families"
"""Entry points of other packages' families: the name is a pipeline class, the object a ``FamilyLoader``."""

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Arithmetic that a denoiser may be loaded in, by the name in its facts."""


def load_denoiser(
    path: Path, *, model: str, dtype: torch.dtype = torch.float32, device: torch.device | None = None
) -> Denoiser:
    """Loads a local folder in diffusers format.

    Args:
        path: the folder that holds ``model_index.json``.
        model: name under which requests ask for it.
        dtype: arithmetic of all parts.
        device: where to; the CPU if None.

    Raises:
        ModelFolderError: the folder is missing, is no pipeline, has no safetensors, or is of no known family.
    """
    folder = ModelFolder.open(path)
    loaders = family_loaders()
    load = loaders.get(folder.pipeline_class)
    if load is None:
        raise ModelFolderError(
            f"model: {path} is a {folder.pipeline_class!r}; known pipelines: {', '.join(sorted(loaders))}"
        )
    return load(folder, model=model, dtype=dtype, device=device or torch.device("cpu"))


def family_loaders() -> dict[str, FamilyLoader]:
    """Every known family's loader by pipeline class: this project's own and those of installed packages.

    Raises:
        ModelFolderError: a package registers a pipeline class that already has a loader.
    """
    loaders: dict[str, FamilyLoader] = {"PixArtAlphaPipeline": load_pixart}
    for entry in entry_points(group=FAMILIES_GROUP):
        load = entry.load()
        if loaders.setdefault(entry.name, load) is not load:
            raise ModelFolderError(f"model: two families want to load a {entry.name}, one of them is {entry.value}")
    return loaders
