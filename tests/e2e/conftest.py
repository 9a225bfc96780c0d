"""What is slow to make and shared: a picture of the command on a fleet of its own, and a fleet that tests may hurt."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from polyrhythm.job.image import Quality
from polyrhythm_agent.ports.denoiser import Denoiser
from polyrhythm_client import AsyncClient
from tests.e2e.pictures import MODEL, PROMPT, load_in_fp32, request
from tests.e2e.processes import FAST, SLOW, HurtableFleet
from tests.e2e.shell import OwnFleetPicture, Shell


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> OwnFleetPicture:
    """A red apple; nothing of its fleet lives any more."""
    shell = Shell(tmp_path_factory.mktemp("own"))
    # High quality: the default may find one device alone as fast, and that one runs freely.
    asked = ("--model", MODEL, "--speeds", "0.5,1", "--quality", "high", "-o", "a.png", "--json")
    run = shell("generate", PROMPT, *asked)
    assert run.returncode == 0, run.stderr
    shell.assert_nothing_lives()
    return OwnFleetPicture(path=shell.folder / "a.png", run=run)


@pytest.fixture(scope="session")
def denoiser() -> Denoiser:
    """The fleet's model, to follow its plans in this process."""
    return load_in_fp32()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[HurtableFleet]:
    """An agent at half speed, then one at full speed; every test leaves both of them ready, or about to be.

    Started by hand as from three shells, and ended by Ctrl-C.
    """
    speeds = {SLOW: "0.5", FAST: "1"}
    options = {agent: ("--model", MODEL, "--emulate-speed", speed) for agent, speed in speeds.items()}
    async with HurtableFleet(tmp_path_factory.mktemp("fleet") / "stderr.log", options) as hurt:
        async with AsyncClient(hurt.address) as client:
            await client.picture(request(4, Quality.EXACT))  # measures the size once
        yield hurt
    assert hurt.survivors() == []
