"""An event that the core breaks down on costs whoever sent it, and nobody else; so does not reading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
import pytest_asyncio

from polyrhythm.errors import InternalError, PolyrhythmError, ResourceExhaustedError
from polyrhythm.ids import AgentId, GangId
from polyrhythm.job.events import ImageChunk, ImageCompleted, JobDelayed, JobEvent
from polyrhythm.job.image import ImageRequest
from polyrhythm.job.reports import BeatReport
from polyrhythm.session.commands import StartEpoch
from polyrhythm.session.events import BeatDone
from polyrhythm.session.rendezvous import StoreOperation, StoreRequest
from polyrhythm_coordinator.runtime.blob_store import MemoryBlobStore
from polyrhythm_coordinator.runtime.event_log import EventLog
from polyrhythm_coordinator.runtime.interpreter import Interpreter
from polyrhythm_coordinator.runtime.job_store import MemoryJobStore
from polyrhythm_coordinator.runtime.outbox import ITEMS_MAX, Outbox
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask, explanation_of
from polyrhythm_coordinator.scheduling.state.events import (
    AgentConnected,
    AgentEventReceived,
    Event,
    JobSubmitted,
    PlanComputed,
    SessionId,
    Tick,
)
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from tests.fakes.fabric import FakeFabric
from tests.fakes.worker import FakeWorker, register

NOT_A_MEASUREMENT_S = 5e-324
"""Its ratio to any other duration is 0, of which there is no logarithm. Decoders let no such figure in."""
NONSENSE: Any = None
WAIT_S = 10.0


@dataclass(slots=True)
class Site:
    """A core with fake agents that work directly at it."""

    broken_plans: bool = False
    failures: list[type[Event]] = field(default_factory=list[Any])
    blobs: MemoryBlobStore = field(default_factory=MemoryBlobStore)
    fabric: FakeFabric = field(default_factory=FakeFabric)
    workers: dict[str, FakeWorker] = field(default_factory=dict[str, FakeWorker])
    sessions: dict[str, SessionId] = field(default_factory=dict[str, SessionId])
    errors: dict[str, PolyrhythmError | None] = field(default_factory=dict[str, "PolyrhythmError | None"])
    running: list[asyncio.Task[None]] = field(default_factory=list["asyncio.Task[None]"])
    core: Interpreter = field(init=False)

    def __post_init__(self) -> None:
        self.core = self.core_of(State(incarnation=1, limits=Limits()))

    def core_of(self, state: State) -> Interpreter:
        """A core that begins with a state."""

        async def compute_plan(task: PlanTask) -> Any:
            found = explanation_of(task)
            return replace(found, chosen=NONSENSE) if self.broken_plans else found

        return Interpreter(
            state=state,
            clock=lambda: 0.0,
            draw_seed=lambda: 3,
            compute_plan=compute_plan,
            jobs=MemoryJobStore(),
            blobs=self.blobs,
            observe=lambda _event, _effects: None,
            observe_failure=lambda event, _error: self.failures.append(type(event)),
        )

    def add(self, name: str) -> None:
        """Connects an agent whose worker is ready."""
        worker = self.workers[name] = FakeWorker(AgentId(name), self.fabric, per_row_s=1.0)
        self.sessions[name], commands = self.core.open_session(register(worker.agent))
        self.core.receive(worker.agent, self.sessions[name], worker.ready())
        self.running.append(asyncio.create_task(self._serve(name, commands)))

    async def _serve(self, name: str, commands: Outbox[Any]) -> None:
        worker = self.workers[name]
        try:
            async for command in commands:
                for event in worker.handle(command):
                    self.core.receive(worker.agent, self.sessions[name], event)
        except PolyrhythmError as error:
            self.errors[name] = error

    def work(self) -> None:
        """All workers that are connected do what they can."""
        moved = True
        while moved:
            moved = False
            for name, worker in self.workers.items():
                before = worker.moves
                for event in worker.work():
                    self.core.receive(worker.agent, self.sessions[name], event)
                moved = moved or worker.moves != before

    async def until(self, condition: Any) -> None:
        """Goes on until a condition holds."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self.work()
                await asyncio.sleep(0)


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    yield made
    for task in made.running:
        task.cancel()
    await asyncio.gather(*made.running, return_exceptions=True)


async def told(log: EventLog, heard: list[JobEvent]) -> PolyrhythmError | None:
    try:
        async for event in log:
            heard.append(event)  # noqa: PERF401 - kept when the log ends with an error
    except PolyrhythmError as error:
        return error
    return None


async def test_an_agents_event_that_the_core_breaks_down_on_costs_that_agent_its_session_and_nothing_else(
    site: Site,
) -> None:
    for name in ("a", "b"):
        site.add(name)
        site.workers[name].pause_at = 0
    heard: list[JobEvent] = []
    _, log = site.core.submit(ImageRequest(prompt="a red apple", seed=1, steps=12), explain_only=False)
    listening = asyncio.create_task(told(log, heard))
    await site.until(lambda: any(isinstance(command, StartEpoch) for command in site.workers["a"].seen))
    (start,) = [command for command in site.workers["a"].seen if isinstance(command, StartEpoch)]
    first = start.segments[0]
    active = first.beat_steps // first.of(AgentId("a")).stride
    lie = BeatReport(
        epoch=start.epoch,
        boundary_step=first.begin_step + first.beat_steps,
        plan_version=1,
        active_steps=active,
        busy_s=0.0,
        wait_s=0.0,
        sent_bytes=0,
        wall_s=0.0,
        last=False,
        step_s=(NOT_A_MEASUREMENT_S,) * active,
    )
    site.core.receive(AgentId("a"), site.sessions["a"], BeatDone(report=lie))
    await site.until(lambda: "a" in site.errors)
    assert isinstance(site.errors["a"], InternalError)
    assert "math domain error" in str(site.errors["a"])
    assert site.failures == [AgentEventReceived]
    assert set(site.core.state.agents) == {"b"}
    assert site.core.failure is None
    del site.workers["a"]
    site.fabric.break_off(AgentId("a"))
    site.workers["b"].pause_at = None
    await site.until(listening.done)
    assert await listening is None
    assert isinstance(heard[-1], ImageCompleted)


async def test_an_introduction_that_the_core_breaks_down_on_is_answered_with_that(site: Site) -> None:
    _, commands = site.core.open_session(replace(register(AgentId("a")), device=NONSENSE))
    with pytest.raises(InternalError, match="AttributeError"):
        await anext(aiter(commands))
    assert (site.failures, site.core.failure) == ([AgentConnected], None)


async def test_a_request_that_the_core_breaks_down_on_is_answered_with_that(site: Site) -> None:
    site.add("a")
    _, log = site.core.submit(ImageRequest(prompt=cast("str", NONSENSE)), explain_only=False)
    assert isinstance(await told(log, []), InternalError)
    assert (site.failures, site.core.failure) == ([JobSubmitted], None)
    assert site.core.state.applicants == {}


async def test_a_plan_that_the_core_breaks_down_on_costs_its_picture(site: Site) -> None:
    site.broken_plans = True
    site.add("a")
    _, log = site.core.submit(ImageRequest(prompt="a red apple", seed=1), explain_only=False)
    listening = asyncio.create_task(told(log, []))
    await site.until(listening.done)
    assert isinstance(await listening, InternalError)
    assert (site.failures, site.core.failure) == ([PlanComputed], None)
    assert set(site.core.state.agents) == {"a"}


async def test_a_tick_that_the_core_breaks_down_on_is_the_end_of_it(site: Site) -> None:
    """Nobody sent it, and the next one would fail too: going on would keep everybody waiting for ever."""
    core = site.core_of(State(incarnation=1, limits=Limits(), agents={AgentId("a"): NONSENSE}))
    with pytest.raises(AttributeError):
        core.feed(Tick())
    await asyncio.wait_for(core.failed(), WAIT_S)
    assert isinstance(core.failure, AttributeError)


async def test_an_agent_that_asks_and_does_not_read_the_answers_loses_its_session(site: Site) -> None:
    session, _ = site.core.open_session(register(AgentId("a")))
    ask = StoreRequest(gang=GangId("none"), request_id=1, operation=StoreOperation.CHECK, key="k", value=b"", amount=0)
    for _ in range(5000):
        site.core.receive(AgentId("a"), session, ask)
    assert site.core.state.agents == {}
    assert site.core.failure is None


async def test_a_client_that_does_not_read_loses_its_job(site: Site) -> None:
    site.add("a")
    job, log = site.core.submit(ImageRequest(prompt="a red apple", seed=1, steps=12), explain_only=False)
    for number in range(ITEMS_MAX):
        assert log.tell(JobDelayed(reason=str(number)), 0.0)
    await site.until(lambda: job not in site.core.state.jobs and job not in site.core.state.applicants)
    assert isinstance(await told(log, []), ResourceExhaustedError)
    assert site.workers["a"].pictures == 0
    assert site.core.failure is None


async def test_a_picture_that_there_is_no_room_for_costs_its_job_and_nothing_else(site: Site) -> None:
    site.blobs = MemoryBlobStore(bytes_max=30)
    site.core = site.core_of(State(incarnation=1, limits=Limits()))
    site.add("a")
    heard: list[JobEvent] = []
    job, log = site.core.submit(ImageRequest(prompt="a red apple", seed=1, steps=12), explain_only=False)
    listening = asyncio.create_task(told(log, heard))
    await site.until(listening.done)
    assert isinstance(await listening, ResourceExhaustedError)
    assert not any(isinstance(event, ImageChunk) for event in heard)
    await site.until(lambda: not site.core.state.epochs)
    assert (site.blobs.kept_bytes, site.core.failure, set(site.core.state.agents)) == (0, None, {"a"})
    assert job not in site.core.state.jobs
