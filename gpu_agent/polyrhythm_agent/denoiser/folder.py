"""A model folder in diffusers format: its index, its parts' files, its fingerprint.

Owns file names only; builds no module.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyrhythm_agent.errors import ModelFolderError

INDEX_FILE = "model_index.json"
DECISIVE_SUFFIXES = frozenset({".safetensors", ".json", ".model", ".txt"})
"""Files that decide a picture: weights, configs, vocabularies. A model card and its pictures do not."""

INDECISIVE_FILES = frozenset({"calibration.json", "known_words.json"})
"""At the top of the folder: what plans cost, and what prompts may name. They decide no picture."""

CHUNK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """A folder that has an index.

    Attributes:
        path: where.
        index: contents of the index.
        offload: whether the denoiser's weights are to stay outside of the device's memory.
    """

    path: Path
    index: Mapping[str, Any]
    offload: bool = False

    @classmethod
    def open(cls, path: Path, *, offload: bool = False) -> ModelFolder:
        """Reads the index.

        Raises:
            ModelFolderError: there is no folder, no index, or no JSON object in it.
        """
        if not path.is_dir():
            raise ModelFolderError(f"model: {path} is not a folder")
        if not (path / INDEX_FILE).is_file():
            raise ModelFolderError(f"model: {path} has no {INDEX_FILE}, so it is not a diffusers pipeline")
        return cls(path=path, index=_read_object(path / INDEX_FILE), offload=offload)

    @property
    def pipeline_class(self) -> str:
        """Name of the pipeline's class in diffusers."""
        return str(self.index.get("_class_name", ""))

    def config_of(self, part: str, file: str) -> Mapping[str, Any]:
        """Config file of a part.

        Raises:
            ModelFolderError: it is missing or no JSON object.
        """
        path = self.path / part / file
        if not path.is_file():
            raise ModelFolderError(f"model: {self.path} has no {part}/{file}")
        return _read_object(path)

    def require_safetensors(self, *parts: str) -> None:
        """Checks that each part's weights are there in the one format that is read.

        Raises:
            ModelFolderError: names the first part without.
        """
        for part in parts:
            if not any((self.path / part).glob("*.safetensors")):
                raise ModelFolderError(f"model: {self.path / part} holds no .safetensors file")

    def require_file(self, part: str, *names: str) -> None:
        """Checks that a part has at least one of some files.

        Raises:
            ModelFolderError: it has none of them.
        """
        if not any((self.path / part / name).is_file() for name in names):
            raise ModelFolderError(f"model: {self.path / part} holds neither {' nor '.join(names)}")

    def fingerprint(self) -> str:
        """SHA-256 over names and contents of all decisive files, in order of their names."""
        total = hashlib.sha256()
        files = {
            path.relative_to(self.path).as_posix(): path
            for path in self.path.rglob("*")
            if path.is_file() and path.suffix in DECISIVE_SUFFIXES
        }
        for name in INDECISIVE_FILES:
            files.pop(name, None)
        for name, path in sorted(files.items()):
            content = hashlib.sha256()
            with path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    content.update(chunk)
            total.update(f"{name}\0{content.hexdigest()}\n".encode())
        return total.hexdigest()


def _read_object(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"model: {path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelFolderError(f"model: {path} holds {type(value).__name__}, not an object")
    return value
