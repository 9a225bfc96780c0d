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
from types import TracebackType
from typing import TypeAlias, assert_never

from polyrhythm.errors import InternalError, NotFoundError, PolyrhythmError, ResourceExhaustedError
from polyrhythm.fleet import AgentView
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import Accepted, JobEvent
from polyrhythm.job.image import ImageRequest
from polyrhythm.plan.explanation import Explanation
from polyrhythm.session.messages import AgentCommand, AgentEvent, Register
from polyrhythm_coordinator.runtime.outbox import Outbox
from polyrhythm_coordinator.runtime.outbox_limits import AGENT_ROOM, CLIENT_ROOM, client_room
from polyrhythm_coordinator.scheduling.state.effects import (
    ComputePlan,
    DisconnectAgent,
    Effect,
    EndJob,
    FailJob,
    PlanTask,
    ReadinessChanged,
    SendCommand,
    Tell,
)
from polyrhythm_coordinator.scheduling.state.events import (
    AgentConnected,
    AgentDisconnected,
    AgentDrained,
    AgentEventReceived,
    Event,
    JobCancelled,
    JobSubmitted,
    PlanComputed,
    PlanFailed,
    SessionId,
    Stopping,
    Tick,
)
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.transition import transition

Observer: TypeAlias = Callable[[Event, tuple[Effect, ...]], None]
"""Sees every event with what came of it, after its effects were carried out."""
FailureObserver: TypeAlias = Callable[[Event, Exception], None]
"""Sees every event that the core broke down on, with the error."""


class Interpreter:
    """The core in its world.

    Args:
        state: to begin with.
        clock: seconds on a clock that never runs backwards.
        draw_seed: a seed for a request that names none.
        compute_plan: carries out plan tasks.
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
        observe: Observer,
        observe_failure: FailureObserver,
    ) -> None:
        self._state = state
        self._clock = clock
        self._draw_seed = draw_seed
        self._compute_plan = compute_plan
        self._observe = observe
        self._observe_failure = observe_failure
        self._sessions: dict[SessionId, Outbox[AgentCommand]] = {}
        self._jobs: dict[JobId, Outbox[JobEvent]] = {}
        self._plans: set[asyncio.Task[Explanation]] = set()
        self._last_session = 0
        self._behind: list[SendCommand | Tell] = []
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
            self._observe(event, effects)
            self._cut_off()
            return None

    def submit(self, request: ImageRequest, *, explain_only: bool) -> tuple[JobId, Outbox[JobEvent]]:
        """Hands in a request; its outbox ends with the job."""
        job = self._state.next_job
        outbox = self._jobs[job] = Outbox(CLIENT_ROOM)
        event = JobSubmitted(job=job, request=request, drawn_seed=self._draw_seed(), explain_only=explain_only)
        self.feed(event)
        return job, outbox

    def cancel(self, job: JobId, error: PolyrhythmError) -> None:
        """Ends a job if it has not ended yet."""
        if job in self._jobs:
            self.feed(JobCancelled(job=job, error=error))

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
        self._last_session += 1
        session = SessionId(self._last_session)
        outbox = self._sessions[session] = Outbox(AGENT_ROOM)
        self.feed(AgentConnected(session=session, register=register))
        return session, outbox

    def receive(self, agent: AgentId, session: SessionId, event: AgentEvent) -> None:
        """Hands in what an agent says."""
        self.feed(AgentEventReceived(agent=agent, session=session, event=event))

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
                self._jobs.pop(job).end(bug)
            case JobCancelled(job=job):
                self._jobs[job].end(bug)  # nobody listens any more; the job goes on to its end
            case PlanComputed(job=job, number=number):
                self.feed(PlanFailed(job=job, number=number, error=bug))
            case AgentDrained():
                pass  # the caller is told
            case AgentDisconnected() | PlanFailed() | Tick() | Stopping():
                raise error
            case _:
                assert_never(event)
        self._observe_failure(event, error)
        return bug

    def _cut_off(self) -> None:
        """Ends whatever those have asked for who do not read what they are sent."""
        while self._behind:
            match self._behind.pop():
                case SendCommand(agent=agent, session=session):
                    error = ResourceExhaustedError(f"{agent} does not read its commands")
                    self.close_session(agent, session, str(error), error)
                case Tell(job=job):
                    self.cancel(job, ResourceExhaustedError("the client does not read what it is told"))

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case SendCommand(session=session, command=command):
                if not self._sessions[session].put(command):
                    self._behind.append(effect)
            case DisconnectAgent(session=session, error=error):
                self._sessions.pop(session).end(error)
            case Tell(job=job, event=event):
                if isinstance(event, Accepted):
                    self._give_room(job)
                if not self._jobs[job].put(event):
                    self._behind.append(effect)
            case EndJob(job=job):
                self._jobs.pop(job).end()
            case FailJob(job=job, error=error):
                self._jobs.pop(job).end(error)
            case ComputePlan():
                task = asyncio.ensure_future(self._compute_plan(effect.task))
                self._plans.add(task)
                task.add_done_callback(partial(self._take_plan, effect))
            case ReadinessChanged():
                pass  # for observers
            case _:
                assert_never(effect)

    def _give_room(self, job: JobId) -> None:
        accepted = self._state.jobs.get(job)
        if accepted is not None:  # else it has ended in the same moment
            image = accepted.image
            self._jobs[job].move_to(client_room(image.width_px, image.height_px, accepted.count))

    def _take_plan(self, effect: ComputePlan, task: asyncio.Task[Explanation]) -> None:
        self._plans.discard(task)
        if task.cancelled():
            return
        match task.exception():
            case None:
                self.feed(PlanComputed(job=effect.job, number=effect.number, explanation=task.result()))
            case PolyrhythmError() as error:
                self.feed(PlanFailed(job=effect.job, number=effect.number, error=error))
            case error:
                bug = InternalError(f"the planner failed: {type(error).__name__}: {error}")
                bug.__cause__ = error
                self.feed(PlanFailed(job=effect.job, number=effect.number, error=bug))


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
