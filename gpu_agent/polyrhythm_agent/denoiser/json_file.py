"""JSON files of a model folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyrhythm_agent.errors import ModelFolderError


def read_object(path: Path) -> Mapping[str, Any]:
    """A JSON object, with or without a mark of byte order before it.

    Raises:
        ModelFolderError: it cannot be read, or is something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFolderError(f"model: {path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelFolderError(f"model: {path} holds {type(value).__name__}, not an object")
    return value
