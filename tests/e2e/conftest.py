"""A picture that the command made on a fleet of its own, for whoever makes it again by other ways."""

from __future__ import annotations

import pytest

from tests.e2e.shell import OwnFleetPicture, Shell


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> OwnFleetPicture:
    """A red apple; nothing of its fleet lives any more."""
    shell = Shell(tmp_path_factory.mktemp("own"))
    # High quality: the default may find one device with merged steps as good and faster, and that one runs freely.
    asked = ("--speeds", "1,0.5", "--quality", "high", "-o", "a.png", "--json")
    run = shell("generate", "red apple on a blue background", *asked)
    assert run.returncode == 0, run.stderr
    shell.assert_nothing_lives()
    return OwnFleetPicture(path=shell.folder / "a.png", run=run)
