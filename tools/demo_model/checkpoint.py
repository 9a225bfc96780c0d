"""Checkpoints of a training run: one file, replaced atomically, holding a step number and named states.

Owns the file format. Must not know what the states belong to.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch


class Stateful(Protocol):
    """Anything with torch's pair of state methods: modules and optimizers."""

    def state_dict(self) -> dict[str, Any]:
        """The state to save."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take over a saved state."""
        ...


def save_checkpoint(path: Path, step: int, parts: Mapping[str, Stateful]) -> None:
    """Write ``parts`` as of ``step``: a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path, parts: Mapping[str, Stateful]) -> int:
    """Load ``parts`` from ``path`` and return the step to go on from; 0 if there is no file yet."""
    if not path.is_file():
        return 0
    saved = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    return int(saved["step"])
