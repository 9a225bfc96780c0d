"""The scheduling core among fake workers, without processes, sockets or a clock: time passes when a test says so.

Invariants of the state are checked after every event. Messages between the core and an agent keep their order and
arrive when a test delivers them. Clients read at once, and jobs are stored at once, unless a test holds the store up.

The simulator drives the same core in a world of its own (`simulation/engine/world.py`), and the two stay apart. There
everything that is to happen stands in an agenda, virtual time leaps to the next of it, and how long an agent works
follows from a described fleet; here nothing happens by itself: a test holds each message back or delivers it, lets a
worker hang, lie or die between any two, and watches invariants that cost more than the core. An agenda under this world
would take from tests the order of events, which is what they are about; daemons that a test plays would be dead code
in a simulator that ships. They share what the core hears of a plan (`plan_answer`), what clients are
told of it and how bytes are referred to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from polyrhythm.errors import PolyrhythmError
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import JobAccepted, JobEvent, JobQueued
from polyrhythm.job.image import ImageRequest
from polyrhythm.plan.explanation import Explanation
from polyrhythm.session.commands import AgentCommand
from polyrhythm.session.events import AgentEvent, Heartbeat, ImageMade, PreviewMade, WorkerLost
from polyrhythm_coordinator.runtime.blob_store import MemoryBlobStore, reference_to
from polyrhythm_coordinator.runtime.event_log import events_of
from polyrhythm_coordinator.runtime.news import News
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask, explanation_of
from polyrhythm_coordinator.scheduling.queue.order import places
from polyrhythm_coordinator.scheduling.state.effects import (
    ComputePlan,
    DisconnectAgent,
    DropBytes,
    Effect,
    EndJob,
    FailJob,
    ImageKept,
    JobFact,
    KeepBytes,
    PreviewKept,
    ReadinessChanged,
    RefuseJob,
    SendCommand,
    StoreJob,
    Tell,
)
from polyrhythm_coordinator.scheduling.state.events import (
    AgentConnected,
    AgentDisconnected,
    AgentDrained,
    AgentEventReceived,
    BlobId,
    Event,
    JobCancelled,
    JobStored,
    JobSubmitted,
    SessionId,
    Tick,
)
from polyrhythm_coordinator.scheduling.state.invariants import violations
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.scheduling.transition import transition
from polyrhythm_coordinator.simulation.engine.plan_answer import plan_answer
from tests.fakes.fabric import FakeFabric
from tests.fakes.worker import FakeWorker, register

TICK_S = 0.1
Told = TypeVar("Told")
Sent = TypeVar("Sent")


@dataclass(slots=True)
class Daemon:
    """One fake agent: its stream and its worker."""

    agent: AgentId
    worker: FakeWorker
    session: SessionId | None = None
    down: deque[AgentCommand] = field(default_factory=deque[AgentCommand])
    up: deque[AgentEvent] = field(default_factory=deque[AgentEvent])
    loading: bool = False
    silent: bool = False
    """Stopped: no heartbeats, nothing delivered, and yet its stream is open."""


class World:
    """Core, agents and clients."""

    def __init__(
        self,
        *agents: str,
        per_row_s: dict[str, float] | None = None,
        host: str = "",
        planner: Callable[[PlanTask], Explanation] = explanation_of,
    ) -> None:
        self.state = State(incarnation=1, limits=Limits())
        self.now_s = 0.0
        self.fabric = FakeFabric()
        self.daemons: dict[str, Daemon] = {}
        self.told: dict[JobId, list[JobEvent]] = {}
        self.ended: dict[JobId, PolyrhythmError | None] = {}
        self.questions: set[JobId] = set()
        self.plans: deque[ComputePlan] = deque()
        self.stores: deque[StoreJob] = deque()
        self.holds_stores = False
        self.refused: list[RefuseJob] = []
        self.blobs = MemoryBlobStore()
        self.log: list[tuple[float, Event, tuple[Effect, ...]]] = []
        self._per_row_s = per_row_s or {}
        self._host = host
        self._planner = planner
        self._sessions = 0
        self._jobs = 0
        self._news: dict[JobId, News] = {}
        self._blob = BlobId(0)
        self._arrived = b""
        for agent in agents:
            self.connect(agent)
            self.load(agent)

    # --- what happens -------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> tuple[Effect, ...]:
        """One event; its effects are carried out, its invariants checked."""
        self.state, effects = transition(self.state, event, self.now_s)
        self.log.append((self.now_s, event, effects))
        for effect in effects:
            self._carry_out(effect)
        assert violations(self.state) == []
        if not self.holds_stores:
            self.let_stores()
        return effects

    def connect(self, agent: str) -> Daemon:
        """An agent's daemon connects; its worker is still loading."""
        name = AgentId(agent)
        worker = FakeWorker(name, self.fabric, per_row_s=self._per_row_s.get(agent, 0.01))
        self._sessions += 1
        daemon = Daemon(agent=name, worker=worker, session=SessionId(self._sessions), loading=True)
        self.daemons[agent] = daemon
        self.feed(AgentConnected(session=SessionId(self._sessions), register=register(name, host=self._host)))
        return daemon

    def load(self, agent: str) -> None:
        """Its worker has loaded."""
        daemon = self.daemons[agent]
        daemon.loading = False
        self.say(agent, daemon.worker.ready())

    def say(self, agent: str, event: AgentEvent) -> tuple[Effect, ...]:
        """An agent says something, delivered at once."""
        daemon = self.daemons[agent]
        if daemon.session is None:
            return ()
        if isinstance(event, ImageMade | PreviewMade):
            self._blob = BlobId(self._blob + 1)
            self._arrived = event.data if isinstance(event, ImageMade) else event.png
            epoch = self.state.epochs.get(event.epoch)
            file = None if epoch is None else epoch.file
            said = reference_to(event, self._blob, () if file is None else self.blobs.parts(file.blob))
        else:
            said = event
        return self.feed(AgentEventReceived(agent=daemon.agent, session=daemon.session, event=said))

    def submit(self, request: ImageRequest | None = None, *, explain_only: bool = False) -> JobId:
        """A client asks for pictures, or how they would be made."""
        self._jobs += 1
        job = JobId(f"job-1-{self._jobs}")
        self.told[job] = []
        self._news[job] = News()
        if explain_only:
            self.questions.add(job)
        request = request or ImageRequest(prompt="a red apple", seed=1)
        self.feed(JobSubmitted(job=job, request=request, drawn_seed=7, explain_only=explain_only))
        return job

    def cancel(self, job: JobId, error: PolyrhythmError) -> None:
        """A client hangs up."""
        self.feed(JobCancelled(job=job, error=error))

    def drain(self, agent: str, *, undo: bool = False) -> None:
        """Somebody takes an agent out of service, or puts it back."""
        self.feed(AgentDrained(agent=AgentId(agent), undo=undo))

    def kill_worker(self, agent: str, *, noticed: bool = True) -> None:
        """A worker dies; its daemon says so and starts another."""
        daemon = self.daemons[agent]
        self._replace_worker(daemon)
        daemon.loading = True
        if noticed:
            daemon.up.append(WorkerLost(reason="killed"))

    def kill_daemon(self, agent: str) -> None:
        """A daemon dies, and its worker with it; the stream breaks."""
        daemon = self.daemons[agent]
        self._replace_worker(daemon)
        daemon.loading = True
        daemon.down.clear()
        daemon.up.clear()
        if daemon.session is not None:
            session, daemon.session = daemon.session, None
            self.feed(AgentDisconnected(agent=daemon.agent, session=session, reason="connection reset"))

    # --- time ----------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Delivers and works until nothing more happens without time passing."""
        while self._step():
            pass

    def tick(self, seconds: float = TICK_S) -> None:
        """Time passes."""
        self.now_s = round(self.now_s + seconds, 6)
        for daemon in tuple(self.daemons.values()):
            if daemon.session is not None and not daemon.silent:
                self.say(daemon.agent, Heartbeat(sequence=0))
        self.feed(Tick())
        for job in self._news.keys() - self.ended.keys():
            self.told[job].extend(self._news[job].due(self.now_s))
        for job, place in places(self.state):
            self._tell(job, JobQueued(position=place))

    def run_until(self, condition: Callable[[], bool], *, limit_s: float = 60.0) -> None:
        """Lets everything happen, and time pass, until a condition holds."""
        deadline_s = self.now_s + limit_s
        while not condition():
            if not self._step():
                assert self.now_s < deadline_s, f"not within {limit_s} s; told: {self.told}; ended: {self.ended}"
                self.tick()

    def run(self, *jobs: JobId) -> None:
        """Lets everything happen until the jobs have ended."""
        self.run_until(lambda: all(job in self.ended for job in jobs))

    # --- pieces ---------------------------------------------------------------------------------------------------

    def deliver_down(self, daemon: Daemon) -> bool:
        """One command reaches its worker."""
        if not daemon.down or daemon.silent or daemon.loading:
            return False
        daemon.up.extend(daemon.worker.handle(daemon.down.popleft()))
        return True

    def deliver_up(self, daemon: Daemon) -> bool:
        """One event reaches the core."""
        if not daemon.up or daemon.silent:
            return False
        self.say(daemon.agent, daemon.up.popleft())
        return True

    def work(self, daemon: Daemon) -> bool:
        """One worker does the next piece."""
        if daemon.loading:
            return False
        moves = daemon.worker.moves
        daemon.up.extend(daemon.worker.work())
        return daemon.worker.moves != moves

    def answer_plan(self) -> bool:
        """One plan is computed."""
        if not self.plans:
            return False
        self.feed(plan_answer(self.plans.popleft(), self._planner))
        return True

    def answer_store(self) -> bool:
        """One job is stored."""
        if not self.stores:
            return False
        self.feed(JobStored(job=self.stores.popleft().job))
        return True

    def let_stores(self) -> None:
        """All jobs are stored, and from now on at once."""
        self.holds_stores = False
        while self.answer_store():
            pass

    def told_of(self, job: JobId, kind: type[Told]) -> list[Told]:
        """What a client was told, of one kind."""
        return [event for event in self.told[job] if isinstance(event, kind)]

    def sent(self, agent: str, kind: type[Sent]) -> list[Sent]:
        """What an agent was sent, of one kind, over all its sessions."""
        return [
            effect.command
            for _, _, effects in self.log
            for effect in effects
            if isinstance(effect, SendCommand) and effect.agent == agent and isinstance(effect.command, kind)
        ]

    def _step(self) -> bool:
        moved = self.answer_plan()
        for daemon in tuple(self.daemons.values()):
            while self.deliver_down(daemon):
                moved = True
            moved = self.work(daemon) or moved
            while self.deliver_up(daemon):
                moved = True
        return moved

    def _replace_worker(self, daemon: Daemon, *, noticed_by_peers: bool = True) -> None:
        if noticed_by_peers:
            self.fabric.break_off(daemon.agent)
        daemon.worker = FakeWorker(daemon.agent, self.fabric, per_row_s=self._per_row_s.get(daemon.agent, 0.01))
        daemon.down.clear()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case SendCommand(agent=agent, session=session, command=command):
                daemon = self.daemons[agent]
                assert daemon.session == session, f"command to a lost agent: {effect}"
                daemon.down.append(command)
            case DisconnectAgent(agent=agent, session=session):
                daemon = self.daemons[agent]
                if daemon.session == session:
                    # A stopped daemon does not see the end of its stream: its worker's peers wait on.
                    self._replace_worker(daemon, noticed_by_peers=not daemon.silent)
                    daemon.session = None
                    daemon.loading = True
                    daemon.up.clear()
            case KeepBytes() | DropBytes():
                self._carry_out_bytes(effect)
            case Tell(job=job, fact=fact, image_index=image_index):
                assert job not in self.ended, f"told after its end: {effect}"
                self._tell(job, fact, image_index)
            case StoreJob():
                self.stores.append(effect)
            case RefuseJob():
                self.refused.append(effect)
            case EndJob(job=job):
                assert job not in self.ended, f"ended twice: {job}"
                self.ended[job] = None
            case FailJob(job=job, error=error):
                assert job not in self.ended, f"ended twice: {job}"
                self.ended[job] = error
            case ComputePlan():
                self.plans.append(effect)
            case ReadinessChanged():
                pass

    def _carry_out_bytes(self, effect: KeepBytes | DropBytes) -> None:
        match effect:
            case KeepBytes(job=job, blob=blob):
                assert job not in self.ended, f"kept after its end: {effect}"
                assert self.blobs.append(blob, self._arrived)
            case DropBytes(blob=blob):
                self.blobs.drop(blob)

    def _tell(self, job: JobId, fact: JobFact, image_index: int | None = None) -> None:
        if self._news[job].is_new(fact, self.now_s, image_index):
            self.told[job].extend(events_of(fact, self.blobs))
        if isinstance(fact, ImageKept | PreviewKept):
            self.blobs.drop(fact.blob)
        if isinstance(fact, JobAccepted):
            place = next((place for name, place in places(self.state) if name == job), 0)
            self._tell(job, JobQueued(position=place))
