"""Several pictures at once by real processes: each is the picture that one device makes, whoever dies meanwhile."""

from __future__ import annotations

import signal
from contextlib import aclosing
from dataclasses import replace

import pytest
import pytest_asyncio

from polyrhythm.ids import AgentId
from polyrhythm.job.events import AgentFailed, ImageProgressed
from polyrhythm.job.image import Objective, Quality
from polyrhythm_client import AsyncClient, Picture
from tests.e2e.pictures import SEED, request
from tests.e2e.processes import FAST, HurtableFleet

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]

COUNT = 4
MANY = replace(request(12, Quality.EXACT), width_px=64, height_px=64, count=COUNT, objective=Objective.THROUGHPUT)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def one_by_one(fleet: HurtableFleet) -> tuple[bytes, ...]:
    """Pixels of the same pictures, each asked for alone and made by one device."""
    alone = replace(MANY, count=1)
    async with AsyncClient(fleet.address) as client:
        pictures = [await client.picture(replace(alone, seed=SEED + index)) for index in range(COUNT)]
    assert all(len(picture.report.agents) == 1 for picture in pictures)
    return tuple(picture.image().tobytes() for picture in pictures)


async def made(fleet: HurtableFleet, *, kill: AgentId | None = None) -> tuple[dict[int, Picture], list[AgentFailed]]:
    """The pictures of one job by index; an agent's worker is killed in the middle of its first one."""
    pictures, failures = dict[int, Picture](), list[AgentFailed]()
    async with AsyncClient(fleet.address) as client, aclosing(client.generate(MANY)) as events:
        async for event in events:
            if kill is not None and isinstance(event, ImageProgressed) and event.agents == (kill,) and event.step >= 3:
                fleet.worker(kill).send_signal(signal.SIGKILL)
                kill = None
            if isinstance(event, AgentFailed):
                failures.append(event)
            if isinstance(event, Picture):
                pictures[event.report.image_index] = event
    return pictures, failures


async def test_four_pictures_by_two_devices_are_those_made_one_by_one(
    fleet: HurtableFleet, one_by_one: tuple[bytes, ...]
) -> None:
    pictures, _ = await made(fleet)
    assert tuple(pictures[index].image().tobytes() for index in range(COUNT)) == one_by_one
    makers = [pictures[index].report.agents for index in range(COUNT)]
    assert all(len(agents) == 1 for agents in makers)
    assert {agents[0].agent for agents in makers} == set(fleet.agents)
    explanation = pictures[0].explanation
    assert explanation is not None
    assert "4 pictures wait: each by one device" in explanation.sharing


async def test_whose_maker_is_killed_is_made_by_the_other_and_the_rest_as_ever(
    fleet: HurtableFleet, one_by_one: tuple[bytes, ...]
) -> None:
    await fleet.until_ready()
    pictures, failures = await made(fleet, kill=FAST)
    assert [failure.agent for failure in failures] == [FAST]
    assert tuple(pictures[index].image().tobytes() for index in range(COUNT)) == one_by_one
    await fleet.until_ready()
    assert fleet.orphans() == []
