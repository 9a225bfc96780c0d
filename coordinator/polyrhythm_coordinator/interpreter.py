"""Feeds events to the scheduling core and carries out its effects. The only holder of state that changes.

Must not decide anything. One event loop only; ``feed`` never waits, so events have one total order. An event that
cannot be taken into account leaves a state that nobody can vouch for: ``failed`` tells the process to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias, assert_never

from polyrhythm.errors import InternalError, NotFoundError, PolyrhythmError
from polyrhythm.explanation import Explanation
from polyrhythm.fleet import AgentView
from polyrhythm.ids import AgentId, JobId
from polyrhythm.image import ImageRequest
from polyrhythm.job_events import JobEvent
from polyrhythm.messages import AgentCommand, AgentEvent, Register
from polyrhythm_coordinator.outbox import Outbox
from polyrhythm_coordinator.scheduling.effects import (
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
from polyrhythm_coordinator.scheduling.events import (
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
)
from polyrhythm_coordinator.scheduling.state import State
from polyrhythm_coordinator.scheduling.transitions import transition

Observer: TypeAlias = Callable[[Event, tuple[Effect, ...]], None]
"""Sees every event with what came of it, after its effects were carried out."""


class Interpreter:
    """The core in its world.

    Args:
        state: to begin with.
        clock: seconds on a clock that never runs backwards.
        draw_seed: a seed for a request that names none.
        compute_plan: carries out plan tasks.
        observe: is shown everything.
    """

    def __init__(
        self,
        *,
        state: State,
        clock: Callable[[], float],
        draw_seed: Callable[[], int],
        compute_plan: Callable[[PlanTask], Awaitable[Explanation]],
        observe: Observer,
    ) -> None:
        self._state = state
        self._clock = clock
        self._draw_seed = draw_seed
        self._compute_plan = compute_plan
        self._observe = observe
        self._sessions: dict[SessionId, Outbox[AgentCommand]] = {}
        self._jobs: dict[JobId, Outbox[JobEvent]] = {}
        self._plans: set[asyncio.Task[Explanation]] = set()
        self._last_session = 0
        self._failure: BaseException | None = None
        self._failed = asyncio.Event()

    @property
    def state(self) -> State:
        """As it is now."""
        return self._state

    @property
    def failure(self) -> BaseException | None:
        """What the core broke down on; None while it is sound."""
        return self._failure

    async def failed(self) -> None:
        """Returns once the core has broken down."""
        await self._failed.wait()

    def feed(self, event: Event) -> None:
        """Takes an event into account and carries out what follows from it."""
        with self._fatal():
            self._state, effects = transition(self._state, event, self._clock())
            for effect in effects:
                self._carry_out(effect)
            self._observe(event, effects)

    def submit(self, request: ImageRequest, *, explain_only: bool) -> tuple[JobId, Outbox[JobEvent]]:
        """Hands in a request; its outbox ends with the job."""
        job = self._state.next_job
        outbox = self._jobs[job] = Outbox()
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
            NotFoundError: it is neither connected nor drained.
        """
        state = self._state
        if agent not in state.agents and agent not in state.drained:
            raise NotFoundError("agent", agent, tuple(sorted(state.agents.keys() | state.drained)))
        self.feed(AgentDrained(agent=agent, undo=undo))
        return next((view for view in self._state.views() if view.agent == agent), None)

    def open_session(self, register: Register) -> tuple[SessionId, Outbox[AgentCommand]]:
        """Introduces an agent; its outbox ends with the session, at once if it is refused."""
        self._last_session += 1
        session = SessionId(self._last_session)
        outbox = self._sessions[session] = Outbox()
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

    @contextmanager
    def _fatal(self) -> Generator[None]:
        """Notes the first error of the body, whoever catches it."""
        try:
            yield
        except BaseException as error:  # whatever it is, and raised again: the state may be torn
            self._failure = self._failure or error
            self._failed.set()
            raise

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case SendCommand(session=session, command=command):
                self._sessions[session].put(command)
            case DisconnectAgent(session=session, error=error):
                self._sessions.pop(session).end(error)
            case Tell(job=job, event=event):
                self._jobs[job].put(event)
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
