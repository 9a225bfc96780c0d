"""The scheduler config that a pipeline of diffusers works with once it is loaded: by its index, its file, its class.

Owns what diffusers changes between the file and the first step. What an option means is ``scheduler_config``'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polyrhythm_agent.denoiser.folder import INDEX_FILE, SCHEDULER_FILE, SCHEDULER_PART, ModelFolder
from polyrhythm_agent.errors import ModelFolderError

CORRECTED_BY_PIPELINE: Mapping[str, Mapping[str, Any]] = {
    "StableDiffusionPipeline": {"steps_offset": 1, "clip_sample": False},
}
"""What a pipeline's constructor sets in its scheduler's config, whatever the file says or leaves out.

Files of the first Stable Diffusion models have neither, and the classes' own defaults are those of models of pixels.
"""


def scheduler_config(folder: ModelFolder) -> dict[str, Any]:
    """The scheduler of a pipeline folder as its class in diffusers would run it; ``_class_name`` is that of the index.

    Raises:
        ModelFolderError: there is no such file, or the index names code that is not diffusers'.
    """
    config = dict(folder.config_of(SCHEDULER_PART, SCHEDULER_FILE))
    named = _class_in_index(folder)
    if named is not None:
        config["_class_name"] = named
    return {**config, **CORRECTED_BY_PIPELINE.get(folder.pipeline_class, {})}


def _class_in_index(folder: ModelFolder) -> str | None:
    """The class that diffusers makes of the file; None where the index leaves it to the file."""
    entry = folder.index.get(SCHEDULER_PART)
    if not isinstance(entry, list) or len(entry) != 2 or None in entry:
        return None
    library, name = entry
    if library != "diffusers":
        raise ModelFolderError(f"scheduler: {name} in {INDEX_FILE} is code of {library}, and only diffusers' is known")
    return str(name)
