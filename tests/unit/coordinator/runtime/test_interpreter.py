"""The interpreter carries out what the core wants, in order, and survives a planner that breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count

import pytest

from polyrhythm.errors import AlreadyInUseError, InternalError, PolyrhythmError
from polyrhythm.ids import AgentId
from polyrhythm.job.events import ImageChunk, JobAccepted, JobEvent, JobQueued
from polyrhythm.job.image import ImageRequest
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.explanation import Explanation
from polyrhythm.session.commands import Welcome
from polyrhythm_coordinator.runtime.blob_store import MemoryBlobStore
from polyrhythm_coordinator.runtime.event_log import EventLog, client_room
from polyrhythm_coordinator.runtime.interpreter import Interpreter, Observer
from polyrhythm_coordinator.runtime.job_store import JobStore, MemoryJobStore
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask, explanation_of
from polyrhythm_coordinator.scheduling.state.events import Event, PlanComputed, Tick
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from tests.fakes.fabric import FakeFabric
from tests.fakes.model import FACTS, PNG
from tests.fakes.worker import FakeWorker, register


async def broken_planner(_: PlanTask) -> Explanation:
    raise ZeroDivisionError("in the middle of a search")


async def planner(task: PlanTask) -> Explanation:
    return explanation_of(task)


def interpreter(
    compute_plan: Callable[[PlanTask], Awaitable[Explanation]] = planner,
    observe: Observer = lambda _event, _effects: None,
    jobs: JobStore | None = None,
    blobs: MemoryBlobStore | None = None,
) -> Interpreter:
    return Interpreter(
        state=State(incarnation=1, limits=Limits()),
        clock=lambda: 0.0,
        draw_seed=lambda: 3,
        compute_plan=compute_plan,
        jobs=jobs or MemoryJobStore(),
        blobs=blobs or MemoryBlobStore(),
        observe=observe,
        observe_failure=lambda _event, _error: None,
    )


def worker_of(name: str, facts: ModelFacts = FACTS) -> FakeWorker:
    return FakeWorker(AgentId(name), FakeFabric(), facts=(facts,))


async def serve(core: Interpreter, worker: FakeWorker) -> None:
    """One fake agent, directly at the interpreter."""
    session, commands = core.open_session(register(worker.agent))
    core.receive(worker.agent, session, worker.ready())
    async for command in commands:
        events = worker.handle(command)
        moves = None
        while moves != worker.moves:
            moves = worker.moves
            events.extend(worker.work())
        for event in events:
            core.receive(worker.agent, session, event)


async def until(condition: Callable[[], bool]) -> None:
    """Lets others have their turns until a condition holds."""
    async with asyncio.timeout(10):
        while True:
            if condition():
                return
            await asyncio.sleep(0)


async def collect(log: EventLog) -> tuple[list[JobEvent], PolyrhythmError | None]:
    events: list[JobEvent] = []
    try:
        async for event in log:
            events.append(event)  # noqa: PERF401 - kept when the log ends with an error
    except PolyrhythmError as error:
        return events, error
    return events, None


async def test_a_picture() -> None:
    core = interpreter()
    agent = asyncio.create_task(serve(core, worker_of("a")))
    await asyncio.sleep(0)
    job, log = core.submit(ImageRequest(prompt="a red apple"), explain_only=False)
    events, error = await collect(log)
    assert error is None
    accepted, queued = events[:2]
    assert isinstance(accepted, JobAccepted)
    assert (accepted.job, accepted.image.prompt, accepted.fingerprint) == (job, "a red apple", FACTS.fingerprint)
    assert queued == JobQueued(position=0)
    assert b"".join(event.data for event in events if isinstance(event, ImageChunk)) == PNG
    assert core.state.jobs == {}
    agent.cancel()


async def test_whose_pictures_are_large_has_room_for_them() -> None:
    core = interpreter()
    agent = asyncio.create_task(serve(core, worker_of("a", replace(FACTS, pixels_max=1 << 24))))
    await asyncio.sleep(0)
    request = ImageRequest(prompt="a red apple", width_px=4096, height_px=4096, count=8)
    _, log = core.submit(request, explain_only=False)
    before = log.room_bytes
    reading = aiter(log)
    assert isinstance(await anext(reading), JobAccepted)
    assert log.room_bytes == client_room(4096, 4096, 8).bytes_max > before
    agent.cancel()


async def test_a_planner_that_breaks_ends_the_job_only() -> None:
    core = interpreter(broken_planner)
    agent = asyncio.create_task(serve(core, worker_of("a")))
    await asyncio.sleep(0)
    _, log = core.submit(ImageRequest(prompt="a red apple"), explain_only=False)
    _, error = await collect(log)
    assert isinstance(error, InternalError)
    assert "in the middle of a search" in str(error)
    assert core.state.agents[AgentId("a")].worker_ready
    agent.cancel()


async def test_a_plan_that_cannot_be_taken_breaks_the_core() -> None:
    """Nobody awaits a planner: what goes wrong after it must not leave its job waiting for ever, unseen."""

    def observe(event: Event, _effects: object) -> None:
        if isinstance(event, PlanComputed):
            raise ZeroDivisionError("in the middle of an event")

    core = interpreter(observe=observe)
    agent = asyncio.create_task(serve(core, worker_of("a")))
    await asyncio.sleep(0)
    core.submit(ImageRequest(prompt="a red apple"), explain_only=False)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    await asyncio.wait_for(core.failed(), 10)
    assert isinstance(core.failure, ZeroDivisionError)
    agent.cancel()


async def test_the_first_failure_is_told() -> None:
    numbers = count(1)

    def observe(_event: object, _effects: object) -> None:
        raise ArithmeticError(f"failure {next(numbers)}")

    core = interpreter(observe=observe)
    for _ in range(2):
        with pytest.raises(ArithmeticError):
            core.feed(Tick())
    assert str(core.failure) == "failure 1"


async def test_a_refused_agent_gets_its_error_and_nothing_else() -> None:
    core = interpreter()
    _, commands = core.open_session(register(AgentId("a")))
    _, refused = core.open_session(register(AgentId("a")))
    commands.end()
    assert [type(command) async for command in commands] == [Welcome]
    with pytest.raises(AlreadyInUseError):
        await anext(aiter(refused))
