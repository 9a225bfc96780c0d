"""The scheduler config that a pipeline of diffusers works with once it is loaded: by its index, its file, its class.

Owns which file and which class. What diffusers changes in the contents is ``folder_contents``' to say, what an option
means ``scheduler_config``'s.
"""

from __future__ import annotations

from typing import Any

from polyrhythm_agent.denoiser.files.folder import INDEX_FILE, SCHEDULER_FILE, SCHEDULER_PART, ModelFolder
from polyrhythm_agent.denoiser.files.folder_contents import scheduler_as_run
from polyrhythm_agent.errors import ModelFolderError


def scheduler_config(folder: ModelFolder) -> dict[str, Any]:
    """The scheduler of a pipeline folder as its class in diffusers would run it; ``_class_name`` is that of the index.

    Raises:
        ModelFolderError: there is no such file, or the index names code that is not diffusers'.
    """
    config, named = folder.config_of(SCHEDULER_PART, SCHEDULER_FILE), folder.class_of(SCHEDULER_PART)
    if named is not None and (library := folder.index[SCHEDULER_PART][0]) != "diffusers":
        raise ModelFolderError(f"scheduler: {named} in {INDEX_FILE} is code of {library}, and only diffusers' is known")
    return scheduler_as_run(config, indexed_class=named, pipeline_class=folder.pipeline_class)
