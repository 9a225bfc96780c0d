"""Where a model lies, and whether it can be one, seen without loading it and without torch."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.families import known_families
from polyrhythm_agent.settings import DEMO_MODEL

_PACKAGE = Path(__file__).parent
DEMO_FOLDERS = (_PACKAGE / "models" / DEMO_MODEL, _PACKAGE.parents[1] / "models" / DEMO_MODEL)
"""Inside an installed wheel; in a checkout."""

_INDEX = "model_index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """A folder that looks like a model.

    Attributes:
        name: under which requests ask for it.
        path: absolute.
    """

    name: str
    path: Path


def find_model(model: str, demo_folders: tuple[Path, ...] = DEMO_FOLDERS) -> ModelFolder:
    """The folder of ``demo`` or of a path, checked cheaply.

    Args:
        model: ``demo`` or a path.
        demo_folders: where the demo model may lie, first match wins.

    Raises:
        InvalidArgumentError: there is no such folder, or no diffusers model of a known pipeline with safetensors in it.
    """
    if model == DEMO_MODEL:
        path = next((folder for folder in demo_folders if folder.is_dir()), None)
        if path is None:
            raise _error("the demo model is not part of this installation; name a model folder instead")
        name = DEMO_MODEL
    else:
        path = Path(model).expanduser().resolve()
        name = path.name
    _check_folder(path)
    return ModelFolder(name=name, path=path)


def _check_folder(path: Path) -> None:
    if not path.is_dir():
        raise _error(f"{path} is not a folder" if path.exists() else f"{path} does not exist")
    index = path / _INDEX
    try:
        described = json.loads(index.read_text(encoding="utf-8"))
    except OSError as error:
        raise _error(f"{path} is no model in diffusers format: {_INDEX} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _error(f"{path} is no model in diffusers format: {_INDEX} is no JSON ({error})") from error
    pipeline = described.get("_class_name") if isinstance(described, dict) else None
    if not isinstance(pipeline, str):
        raise _error(f"{path} is no model in diffusers format: {_INDEX} names no pipeline")
    try:
        known = known_families()
    except ModelFolderError as error:
        raise _error(str(error)) from error
    if pipeline not in known:
        raise _error(f"{path} is a {pipeline!r}, which no worker can load; known are: {', '.join(sorted(known))}")
    weights = sorted(path.glob("*/*.safetensors"))
    if not weights:
        raise _error(f"{path} holds no safetensors weights; other formats are not loaded, since they can run code")
    for file in weights:
        if not os.access(file, os.R_OK):
            raise _error(f"{file} may not be read by this user")


def _error(description: str) -> InvalidArgumentError:
    return InvalidArgumentError.of("--model", description)
