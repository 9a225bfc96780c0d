"""Which model families there are, seen without loading any of them: this project's own and those of installed packages.

A family is an entry point: its name is the pipeline class that a model's index names, its object a ``FamilyLoader``.
Must not import torch, since the daemon looks here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from polyrhythm_agent.errors import ModelFolderError

FAMILIES_GROUP = "polyrhythm.families"
"""Where other packages register theirs."""

OWN_FAMILIES = tuple(
    EntryPoint(name=pipeline, value=f"polyrhythm_agent.denoiser.families.{loader}", group=FAMILIES_GROUP)
    for pipeline, loader in (
        ("PixArtAlphaPipeline", "pixart_loading:load_pixart"),
        ("PixArtSigmaPipeline", "pixart_loading:load_pixart_sigma"),
        ("DiTPipeline", "dit_loading:load_dit"),
        ("StableDiffusionPipeline", "unet_loading:load_stable_diffusion"),
        ("LatentConsistencyModelPipeline", "unet_loading:load_latent_consistency"),
        ("StableDiffusionXLPipeline", "unet_loading:load_sdxl"),
    )
)


def known_families() -> Mapping[str, EntryPoint]:
    """Every family by pipeline class; nothing is imported.

    Raises:
        ModelFolderError: a package registers a pipeline class that already has a loader.
    """
    known: dict[str, EntryPoint] = {}
    for entry in (*OWN_FAMILIES, *entry_points(group=FAMILIES_GROUP)):
        first = known.setdefault(entry.name, entry)
        if first.value != entry.value:
            raise ModelFolderError(f"model: {first.value} and {entry.value} both want to load a {entry.name}")
    return known
