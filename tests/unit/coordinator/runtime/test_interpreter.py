"""The interpreter carries out what the core wants, in order, and survives a planner that breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count

import pytest

from polyrhythm.errors import AlreadyInUseError, InternalError, PolyrhythmError
from polyrhythm.ids import AgentId
from polyrhythm.job.events import Accepted, JobEvent
from polyrhythm.job.image import ImageRequest
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.explanation import Explanation
from polyrhythm.session.messages import Welcome
from polyrhythm_coordinator.runtime.interpreter import Interpreter, Observer
from polyrhythm_coordinator.runtime.outbox import Outbox
from polyrhythm_coordinator.runtime.outbox_limits import client_room
from polyrhythm_coordinator.runtime.planner_thread import explanation_of
from polyrhythm_coordinator.scheduling.state.effects import PlanTask
from polyrhythm_coordinator.scheduling.state.events import Event, PlanComputed, Tick
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from tests.fakes.fabric import FakeFabric
from tests.fakes.model import FACTS
from tests.fakes.worker import FakeWorker, register


async def broken_planner(_: PlanTask) -> Explanation:
    raise ZeroDivisionError("in the middle of a search")


async def planner(task: PlanTask) -> Explanation:
    return explanation_of(task)


def interpreter(
    compute_plan: Callable[[PlanTask], Awaitable[Explanation]] = planner,
    observe: Observer = lambda _event, _effects: None,
) -> Interpreter:
    return Interpreter(
        state=State(incarnation=1, limits=Limits()),
        clock=lambda: 0.0,
        draw_seed=lambda: 3,
        compute_plan=compute_plan,
        observe=observe,
        observe_failure=lambda _event, _error: None,
    )


async def serve(core: Interpreter, name: str, facts: ModelFacts = FACTS) -> None:
    """One fake agent, directly at the interpreter."""
    worker = FakeWorker(AgentId(name), FakeFabric(), facts=(facts,))
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


async def collect(outbox: Outbox[JobEvent]) -> tuple[list[JobEvent], PolyrhythmError | None]:
    events: list[JobEvent] = []
    try:
        async for event in outbox:
            events.append(event)  # noqa: PERF401 - kept when the outbox ends with an error
    except PolyrhythmError as error:
        return events, error
    return events, None


async def test_a_picture() -> None:
    core = interpreter()
    agent = asyncio.create_task(serve(core, "a"))
    await asyncio.sleep(0)
    job, outbox = core.submit(ImageRequest(prompt="a red apple"), explain_only=False)
    events, error = await collect(outbox)
    assert error is None
    assert events[0] == Accepted(job=job)
    assert core.state.jobs == {}
    agent.cancel()


async def test_whose_pictures_are_large_has_room_for_them() -> None:
    core = interpreter()
    agent = asyncio.create_task(serve(core, "a", replace(FACTS, pixels_max=1 << 24)))
    await asyncio.sleep(0)
    request = ImageRequest(prompt="a red apple", width_px=4096, height_px=4096, count=8)
    _, outbox = core.submit(request, explain_only=False)
    before = outbox.room_bytes
    reading = aiter(outbox)
    assert isinstance(await anext(reading), Accepted)
    assert outbox.room_bytes == client_room(4096, 4096, 8).bytes_max > before
    agent.cancel()


async def test_a_planner_that_breaks_ends_the_job_only() -> None:
    core = interpreter(broken_planner)
    agent = asyncio.create_task(serve(core, "a"))
    await asyncio.sleep(0)
    _, outbox = core.submit(ImageRequest(prompt="a red apple"), explain_only=False)
    _, error = await collect(outbox)
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
    agent = asyncio.create_task(serve(core, "a"))
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
