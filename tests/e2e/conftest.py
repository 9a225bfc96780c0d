"""What is slow to make and shared: a picture of the command on a fleet of its own, and a fleet that tests may hurt."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from tests.e2e.processes import HurtableFleet
from tests.e2e.shell import MODEL, OwnFleetPicture, Shell


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> OwnFleetPicture:
    """A red apple; nothing of its fleet lives any more."""
    shell = Shell(tmp_path_factory.mktemp("own"))
    # High quality: the default may find one device alone as fast, and that one runs freely.
    asked = ("--model", MODEL, "--speeds", "1,0.5", "--quality", "high", "-o", "a.png", "--json")
    run = shell("generate", "red apple on a blue background", *asked)
    assert run.returncode == 0, run.stderr
    shell.assert_nothing_lives()
    return OwnFleetPicture(path=shell.folder / "a.png", run=run)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def slow_and_fast(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[HurtableFleet]:
    """An agent at half speed, then one at full speed; every test leaves both of them ready, or about to be."""
    async with HurtableFleet((0.5, 1.0), tmp_path_factory.mktemp("fleet") / "stderr.log") as hurt:
        yield hurt
    assert hurt.survivors() == []
