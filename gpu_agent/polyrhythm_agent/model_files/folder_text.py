"""Text files that users and their tools put into a folder: JSON, lists of lines. No torch.

Owns their encoding: UTF-8, with or without a mark of byte order before it, as some editors write one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyrhythm.process.named_file import read_within
from polyrhythm_agent.errors import ModelFolderError

BOM = b"\xef\xbb\xbf"
BYTES_MAX = 128 << 20
"""Far beyond the largest tokenizers, which are tens of MiB."""


def read_text(path: Path, *, errors: str = "strict", bytes_max: int = BYTES_MAX) -> str:
    """All of a text file, without a mark of byte order.

    Args:
        path: of the file.
        errors: what is done with bytes that are not UTF-8, as for ``open``.
        bytes_max: that are read at most.

    Raises:
        OSError: it cannot be read, or is longer.
        ValueError: it is not UTF-8, where that is not to be passed over.
    """
    return read_within(path, bytes_max).decode("utf-8-sig", errors=errors)


def read_object(path: Path) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        ModelFolderError: it cannot be read, or is something else.
    """
    try:
        value = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFolderError(f"model: {path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelFolderError(f"model: {path} holds {type(value).__name__}, not an object")
    return value
