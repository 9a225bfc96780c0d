"""What of a model's folder ships, whatever else lies there."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hatchling.builders.sdist import SdistBuilder

REPOSITORY = Path(__file__).resolve().parents[2]


def shipped_files(folder: Path) -> tuple[Path, ...]:
    """Files below a folder that the distribution of the sources takes: nothing that is ignored."""
    return tuple(path for path in _taken() if path.is_relative_to(folder))


@cache
def _taken() -> tuple[Path, ...]:
    return tuple(Path(file.path) for file in SdistBuilder(str(REPOSITORY)).recurse_included_files())
