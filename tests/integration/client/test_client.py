"""The SDK against a server that speaks the real protocol."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from polyrhythm.errors import (
    AgentsLostError,
    CancelledError,
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    NoAgentsError,
    NotFoundError,
    PolyrhythmError,
    UnreachableError,
)
from polyrhythm.fleet import AgentState
from polyrhythm.job.events import ImageCompleted, JobAccepted, JobEvent
from polyrhythm.job.image import ImageRequest, Quality
from polyrhythm.model.request_choices import Sampler
from polyrhythm_client import AsyncClient, Client, Picture, read_recipe
from tests.fakes.coordinator import AGENTS, PNG, FakeCoordinator, explanation, picture_events, plan, serve, serving

PROJECT = Path(__file__).parents[3]
ADDRESS = "127.0.0.1:50051"
"""In the example of the README."""
REQUEST = ImageRequest(
    prompt="red apple",
    negative_prompt="blur",
    width_px=64,
    height_px=128,
    steps=8,
    seed=3,
    guidance=2.0,
    sampler=Sampler.DDIM,
    quality=Quality.HIGH,
    plan=plan(),
)


@pytest.fixture
def fake() -> FakeCoordinator:
    return FakeCoordinator()


@pytest.fixture
async def client(fake: FakeCoordinator) -> AsyncIterator[AsyncClient]:
    server, address = await serve(fake)
    async with AsyncClient(address, job_deadline_s=30, query_deadline_s=30) as client:
        yield client
    await server.stop(None)


async def test_events_arrive_in_order_and_the_request_whole(client: AsyncClient, fake: FakeCoordinator) -> None:
    *events, picture = [event async for event in client.generate(REQUEST)]
    assert events == picture_events(REQUEST)
    assert isinstance(picture, Picture)
    assert fake.requests == [REQUEST]


async def test_a_picture_comes_as_soon_as_it_is_done(client: AsyncClient) -> None:
    made = [type(event) async for event in client.generate(ImageRequest(prompt="p", count=2))]
    ends = [index for index, kind in enumerate(made) if kind is ImageCompleted]
    assert [index for index, kind in enumerate(made) if kind is Picture] == [end + 1 for end in ends]


async def test_a_picture_in_one_call(client: AsyncClient) -> None:
    seen: list[JobEvent] = []
    picture = await client.picture(REQUEST, seen.append)
    assert picture.png.endswith(PNG[33:])
    assert picture.report.seed == 3
    assert picture.explanation == explanation()
    assert seen == picture_events(REQUEST)


async def test_a_picture_of_a_program_carries_its_recipe_and_is_made_again_by_it(
    client: AsyncClient, fake: FakeCoordinator, tmp_path: Path
) -> None:
    picture = await client.picture(ImageRequest(prompt="red apple", steps=8))
    picture.save(tmp_path / "apple.png")
    recipe = read_recipe(tmp_path / "apple.png")
    assert recipe == picture.recipe
    assert (recipe.request.seed, recipe.request.guidance, recipe.plan) == (7, 4.0, plan())
    assert [agent.emulated_speed for agent in recipe.agents] == [None, 0.5]
    assert (await client.picture(recipe.request)).png == picture.png
    assert fake.requests[-1] == recipe.request


async def test_several_pictures(client: AsyncClient) -> None:
    pictures = await client.pictures(ImageRequest(prompt="p", count=3, seed=5))
    assert [picture.report.seed for picture in pictures] == [5, 6, 7]
    with pytest.raises(InvalidArgumentError, match="count"):
        await client.picture(ImageRequest(prompt="p", count=3))


async def test_questions(client: AsyncClient) -> None:
    assert await client.agents() == AGENTS
    assert await client.explain(REQUEST) == explanation()


async def test_an_agent_is_drained_and_put_back(client: AsyncClient, fake: FakeCoordinator) -> None:
    drained = await client.drain("local-1")
    assert drained is not None
    assert (drained.name, drained.state) == ("local-1", AgentState.DRAINED)
    assert [view.state for view in await client.agents()] == [AgentState.READY, AgentState.DRAINED]
    await client.drain("local-1", undo=True)
    assert await client.agents() == AGENTS
    fake.drained_earlier = "away"
    assert await client.drain("away") is None
    with pytest.raises(NotFoundError, match="agent 'nobody' does not exist; known: local-0, local-1"):
        await client.drain("nobody")
    with pytest.raises(InvalidArgumentError, match="agent: must be text that UTF-8 can carry"):
        await client.drain(os.fsdecode(b"gpu-\xff"))


async def test_bad_input_names_every_field(client: AsyncClient) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await client.picture(ImageRequest(prompt="p", steps=0, width_px=9))
    assert [violation.field for violation in caught.value.violations] == ["image.steps", "image.width_px"]


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("model", "sdxl", ("demo",)),
        NoAgentsError("no agent is connected"),
        AgentsLostError("all agents were lost"),
        CancelledError("cancelled by its client"),
        DeadlineExceededError("too late"),
        InternalError("a bug"),
    ],
)
async def test_errors_arrive_as_what_they_were(
    client: AsyncClient, fake: FakeCoordinator, error: PolyrhythmError
) -> None:
    fake.error = error
    for call in (client.picture(REQUEST), client.explain(REQUEST)):
        with pytest.raises(type(error)) as caught:
            await call
        assert str(caught.value) == str(error)


async def test_leaving_early_cancels_the_job(client: AsyncClient, fake: FakeCoordinator) -> None:
    fake.stall = True
    async with aclosing(client.generate(REQUEST)) as events:
        assert isinstance(await anext(events), JobAccepted)
    await fake.cancelled.wait()


async def test_a_deadline_cancels_the_job(fake: FakeCoordinator) -> None:
    fake.stall = True
    server, address = await serve(fake)
    async with AsyncClient(address, job_deadline_s=0.2) as client:
        with pytest.raises(DeadlineExceededError):
            await client.picture(REQUEST)
    await fake.cancelled.wait()
    await server.stop(None)


async def test_nobody_at_the_address() -> None:
    server, address = await serve(FakeCoordinator())
    await server.stop(None)
    async with AsyncClient(address) as client:
        with pytest.raises(UnreachableError, match=f"address: the coordinator at {address} cannot be reached"):
            await client.agents()
        with pytest.raises(UnreachableError):
            await client.picture(REQUEST)


async def test_a_coordinator_that_goes_away_in_mid_job(fake: FakeCoordinator) -> None:
    fake.stall = True
    server, address = await serve(fake)
    async with AsyncClient(address) as client:
        events = client.generate(REQUEST)
        assert isinstance(await anext(events), JobAccepted)
        await server.stop(None)
        with pytest.raises(PolyrhythmError):
            await anext(events)


def test_an_address_that_is_none() -> None:
    with pytest.raises(InvalidArgumentError, match="address"):
        AsyncClient("nowhere")


def test_blocking_calls() -> None:
    with serving(FakeCoordinator()) as address, Client(address) as client:
        assert client.picture(REQUEST).png.endswith(PNG[33:])
        assert client.agents() == AGENTS
        assert client.drain("local-1", undo=True) == AGENTS[1]
        assert client.explain(REQUEST) == explanation()
        *events, picture = client.generate(REQUEST)
        assert events == picture_events(REQUEST)
        assert isinstance(picture, Picture)
        with pytest.raises(InvalidArgumentError):
            client.picture(ImageRequest(prompt="p", steps=0))


@pytest.mark.timeout(30)
def test_blocking_calls_without_a_with_block() -> None:
    with serving(FakeCoordinator()) as address:
        client = Client(address)
        assert client.picture(REQUEST).report.seed == 3
        client.close()
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.agents()


def test_leaving_a_blocking_iteration_cancels_the_job() -> None:
    fake = FakeCoordinator(stall=True)
    with serving(fake) as address, Client(address) as client:
        for event in client.generate(REQUEST):
            assert isinstance(event, JobAccepted)
            break
        # The other events can only be asked for once the stalled call is gone.
        fake.stall = False
        assert client.picture(REQUEST).report.seed == 3


def test_a_client_does_not_wait_for_ever_in_a_forked_process(fake: FakeCoordinator) -> None:
    with serving(fake) as address:
        program = [sys.executable, "-X", "faulthandler", "-m", "tests.worlds.forking_client", address]
        done = subprocess.run(program, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "a call": "refused",
        "a picture": "refused",
        "an event": "refused",
        "another client": "refused",
        "the end of events": "done",
        "the end of the client": "done",
        "agents of the parent": len(AGENTS),
    }, done.stderr


def test_the_example_of_the_readme_makes_a_picture(fake: FakeCoordinator, tmp_path: Path) -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    assert ADDRESS in example
    with serving(fake) as address:
        program = [sys.executable, "-c", example.replace(ADDRESS, address)]
        done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert read_recipe(tmp_path / "apple.png").request.prompt == fake.requests[0].prompt
