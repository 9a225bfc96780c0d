"""One tiny model a make, written when it is first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest


class TinyFolders(dict[str, Path]):
    """Folders of models by their make."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root

    def __missing__(self, make: str) -> Path:
        from tests.tiny_models.families import TINY_MAKES  # many tests of this suite need no diffusers

        self[make] = TINY_MAKES[make](self._root / make)
        return self[make]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Folders by the make of their models; nobody writes to them."""
    return TinyFolders(tmp_path_factory.mktemp("tiny-models"))


@pytest.fixture
def family() -> str:
    """What a test's model is, unless the test says so itself."""
    return "pixart"


@pytest.fixture
def folder(folders: Mapping[str, Path], family: str) -> Path:
    """Of the family that the test is about; nobody writes to it."""
    return folders[family]
