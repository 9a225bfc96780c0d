"""Feeds events to the scheduling core and carries out its effects. The only holder of state that changes.

Must not decide anything. One event loop only; ``feed`` never waits, so events have one total order.

The core is pure, so an event that it breaks down on leaves the old state, which stands. Whoever the event came from
bears it: an agent loses its session, a client its call, a plan its picture. What nobody can bear (a tick, the end of a
stream, effects that were carried out by half) leaves a state that cannot be gone on with, however often it is tried:
``failed`` tells the process to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from types import TracebackType
from typing import TypeAlias, assert_never

from polyrhythm.errors import InternalError, NotFoundError, PolyrhythmError, ResourceExhaustedError
from polyrhythm.fleet import AgentView
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import JobAccepted, JobQueued
from polyrhythm.job.image import ImageRequest
from polyrhythm.plan.explanation import Explanation
from polyrhythm.session.commands import AgentCommand
from polyrhythm.session.events import AgentEvent, ImageMade, Register
from polyrhythm_coordinator.runtime.answers import Answers
from polyrhythm_coordinator.runtime.blob_store import BlobStore
from polyrhythm_coordinator.runtime.clients import Clients
from polyrhythm_coordinator.runtime.event_log import EventLog
from polyrhythm_coordinator.runtime.job_store import JobStore, JobWriter
from polyrhythm_coordinator.runtime.outbox import AGENT_ROOM, Outbox
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask
from polyrhythm_coordinator.scheduling.queue.order import places
from polyrhythm_coordinator.scheduling.state.effects import (
    ComputePlan,
    DisconnectAgent,
    DropBytes,
    Effect,
    EndJob,
    FailJob,
    KeepBytes,
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
    Event,
    JobCancelled,
    JobStored,
    JobSubmitted,
    PlanComputed,
    PlanFailed,
    SessionId,
    Stopping,
    StoringFailed,
    Tick,
)
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.transition import transition

Observer: TypeAlias = Callable[[Event, tuple[Effect, ...]], None]
"""Sees every event with what came of it, after its effects were carried out."""
FailureObserver: TypeAlias = Callable[[Event, Exception], None]
"""Sees every event that the core broke down on, with the error."""

PLACES_A_TURN = 32
"""Of clients that are told their places; then others have their turn."""


class Interpreter:
    """The core in its world.

    Args:
        state: to begin with.
        clock: seconds on a clock that never runs backwards.
        draw_seed: a seed for a request that names none.
        compute_plan: carries out plan tasks.
        jobs: outlast this process here.
        blobs: keeps bytes of pictures.
        observe: is shown everything.
        observe_failure: is shown what one event cost whoever it came from.
    """

    def __init__(
        self,
        *,
        state: State,
        clock: Callable[[], float],
        draw_seed: Callable[[], int],
        compute_plan: Callable[[PlanTask], Awaitable[Explanation]],
        jobs: JobStore,
        blobs: BlobStore,
        observe: Observer,
        observe_failure: FailureObserver,
    ) -> None:
        self._state = state
        self._clock = clock
        self._draw_seed = draw_seed
        self._compute_plan = compute_plan
        self._writer = JobWriter(jobs)
        self._clients = Clients(blobs=blobs, clock=clock, cut_off=self._cut_off_client)
        self._observe = observe
        self._observe_failure = observe_failure
        self._sessions: dict[SessionId, Outbox[AgentCommand]] = {}
        self._answers = Answers(self.feed)
        self._session_numbers, self._job_numbers = count(1), count(1)
        self._cut_off: list[Callable[[], None]] = []
        self._fatal = _Fatal()

    @property
    def state(self) -> State:
        """As it is now."""
        return self._state

    @property
    def failure(self) -> BaseException | None:
        """What the core broke down on; None while it is sound."""
        return self._fatal.failure

    async def failed(self) -> None:
        """Returns once the core has broken down."""
        await self._fatal.failed.wait()

    def feed(self, event: Event) -> InternalError | None:
        """Takes an event into account and carries out what follows from it.

        Returns:
            What was wrong with this event alone: nothing has come of it, and whoever it came from has borne that.
        """
        with self._fatal:
            now_s = self._clock()
            try:
                state, effects = transition(self._state, event, now_s)
            except Exception as error:  # noqa: BLE001 - whatever a sender has made the core break down on
                return self._bear(event, error)
            self._state = state
            for effect in effects:
                self._carry_out(effect)
            if isinstance(event, Tick):
                self._clients.tell_due()
            self._observe(event, effects)
            while self._cut_off:
                self._cut_off.pop()()
            return None

    def submit(self, request: ImageRequest, *, explain_only: bool) -> tuple[JobId, EventLog]:
        """Hands in a request; its log ends with the job, and whoever reads it gives it up when it reads no more."""
        job = JobId(f"job-{self._state.incarnation}-{next(self._job_numbers)}")
        log = self._clients.open(job)
        event = JobSubmitted(job=job, request=request, drawn_seed=self._draw_seed(), explain_only=explain_only)
        self.feed(event)
        return job, log

    def cancel(self, job: JobId, error: PolyrhythmError) -> None:
        """Ends a job if it has not ended yet."""
        if job in self._clients:
            self.feed(JobCancelled(job=job, error=error))

    async def tell_places(self) -> None:
        """Tells all that wait their places in the queue, some at a time: nothing else waits for that."""
        for number, (job, place) in enumerate(tuple(places(self._state))):
            if number % PLACES_A_TURN == PLACES_A_TURN - 1:
                await asyncio.sleep(0)
            held = self._state.jobs.get(job)
            if held is not None and held.started_s is None:  # still
                self._clients.tell(job, JobQueued(position=place))

    async def settled(self) -> None:
        """Returns once all that has happened is stored."""
        await self._writer.settled()

    def drain(self, agent: AgentId, *, undo: bool) -> AgentView | None:
        """Takes an agent out of service, or puts it back.

        Returns:
            How it stands now; None if it is not connected.

        Raises:
            InternalError: the core broke down on it.
            NotFoundError: it is neither connected nor drained.
        """
        state = self._state
        if agent not in state.agents and agent not in state.drained:
            raise NotFoundError("agent", agent, tuple(sorted(state.agents.keys() | state.drained)))
        error = self.feed(AgentDrained(agent=agent, undo=undo))
        if error is not None:
            raise error
        return self._state.view(agent) if agent in self._state.agents else None

    def open_session(self, register: Register) -> tuple[SessionId, Outbox[AgentCommand]]:
        """Introduces an agent; its outbox ends with the session, at once if it is refused."""
        session = SessionId(next(self._session_numbers))
        outbox = self._sessions[session] = Outbox(AGENT_ROOM)
        self.feed(AgentConnected(session=session, register=register))
        return session, outbox

    def receive(self, agent: AgentId, session: SessionId, event: AgentEvent) -> None:
        """Hands in what an agent says; bytes of pictures are kept if the core asks for them."""
        epoch = self._state.epochs.get(event.epoch) if isinstance(event, ImageMade) else None
        said = self._clients.reference(event, None if epoch is None else epoch.file)
        self.feed(AgentEventReceived(agent=agent, session=session, event=said))

    def close_session(self, agent: AgentId, session: SessionId, reason: str, error: PolyrhythmError | None) -> None:
        """An agent's stream is over; the outbox ends with the error, if there is one."""
        outbox = self._sessions.pop(session, None)
        if outbox is not None:
            outbox.end(error)
            self.feed(AgentDisconnected(agent=agent, session=session, reason=reason))

    def _bear(self, event: Event, error: Exception) -> InternalError:
        """Lets whoever an event came from bear that it could not be taken into account."""
        bug = InternalError(f"{type(error).__name__}: {error}")
        bug.__cause__ = error
        match event:
            case AgentConnected(session=session):
                self._sessions.pop(session).end(bug)
            case AgentEventReceived(agent=agent, session=session):
                self.close_session(agent, session, str(bug), bug)
            case JobSubmitted(job=job):
                self._clients.end(job, bug)
            case JobCancelled(job=job):
                self._clients.log(job).end(bug)  # nobody listens any more; the job goes on to its end
            case JobStored(job=job):
                self.feed(StoringFailed(job=job, error=bug))
            case PlanComputed(job=job, number=number):
                self.feed(PlanFailed(job=job, number=number, error=bug))
            case AgentDrained():
                pass  # the caller is told
            case AgentDisconnected() | PlanFailed() | StoringFailed() | Tick() | Stopping():
                raise error
            case _:
                assert_never(event)
        self._observe_failure(event, error)
        return bug

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case SendCommand(agent=agent, session=session, command=command):
                if not self._sessions[session].put(command):
                    error = ResourceExhaustedError(f"{agent} does not read its commands")
                    self._cut_off.append(partial(self.close_session, agent, session, str(error), error))
            case DisconnectAgent(session=session, error=error):
                self._sessions.pop(session).end(error)
            case KeepBytes() | DropBytes() | Tell() | RefuseJob() | EndJob() | FailJob():
                self._clients.carry_out(effect)
                self._follow(effect)
            case StoreJob(job=job):
                self._answers.ask(
                    "the store",
                    self._writer.add(effect),
                    lambda _: JobStored(job=job),
                    lambda error: StoringFailed(job=job, error=error),
                )
            case ComputePlan(job=job, number=number, task=task):
                self._answers.ask(
                    "the planner",
                    self._compute_plan(task),
                    lambda found: PlanComputed(job=job, number=number, explanation=found),
                    lambda error: PlanFailed(job=job, number=number, error=error),
                )
            case ReadinessChanged():
                pass  # for observers
            case _:
                assert_never(effect)

    def _follow(self, effect: Effect) -> None:
        """What follows from what a client was told: an acceptance, or the end of its job."""
        match effect:
            case Tell(job=name, fact=JobAccepted()) if name in self._state.jobs:  # else it has ended in the same moment
                job = self._state.jobs[name]
                self._clients.log(name).expect(job.image.width_px, job.image.height_px, job.count)
                place = next((place for other, place in places(self._state) if other == name), 0)
                self._clients.tell(name, JobQueued(position=place))
            case EndJob(job=job):
                self._writer.end(job, None)
            case FailJob(job=job, error=error):
                self._writer.end(job, error)
            case _:
                pass

    def _cut_off_client(self, job: JobId, error: PolyrhythmError) -> None:
        """Ends a job, once all effects are carried out."""
        self._cut_off.append(partial(self.cancel, job, error))


class _Fatal:
    """Notes the first error of all its bodies, whoever catches it: the state may be torn."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self.failed = asyncio.Event()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.failure = self.failure or error
            self.failed.set()
