"""One tiny model a family, made once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.families import FAMILIES


@pytest.fixture(scope="session")
def family_folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Folders by the name of the family; nobody writes to them."""
    return {name: family.make(tmp_path_factory.mktemp(name)) for name, family in FAMILIES.items()}


@pytest.fixture
def folder(family_folders: Mapping[str, Path], family: str) -> Path:
    """Of the family that the test is parametrised by."""
    return family_folders[family]
