"""The loop over beats and active steps: the only place where denoiser, exchange, observer and judge meet.

Owns the latent of one picture on one agent. Knows no process, no socket and no clock but the busy clock; what
happens is told through a callback, so that the same loop runs in threads of a test and in a worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from polyrhythm.ids import AgentId, EpochId
from polyrhythm.job.reports import BeatReport
from polyrhythm.plan.plan import Assignment, Beat
from polyrhythm.session.events import AgentEvent, BeatDone, StepDone
from polyrhythm.session.pace import Pace
from polyrhythm_agent.epoch.boundary_state import BoundaryState, history_after
from polyrhythm_agent.epoch.control_record import ControlRecord
from polyrhythm_agent.epoch.plan_book import PlanBook
from polyrhythm_agent.errors import EpochAbortedError, EpochCancelledError
from polyrhythm_agent.measuring.busy_clock import BusyClock
from polyrhythm_agent.ports.blocks import SAMPLER, BlockObserver
from polyrhythm_agent.ports.denoiser import DenoiserRun
from polyrhythm_agent.ports.exchange import ActivationExchange, RepeatableExchange
from polyrhythm_agent.ports.step_judge import StepJudge, StepVerdict


class Exchange(Protocol):
    """What the loop asks of the data plane of one epoch."""

    @property
    def sent_bytes(self) -> int:
        """Payload handed over so far."""
        ...

    @property
    def wait_s(self) -> float:
        """Seconds blocked so far."""
        ...

    def broadcast(self, root: int, tensors: Mapping[str, Tensor]) -> None:
        """Sends the root's tensors to all; the others receive into theirs."""
        ...

    def begin_beat(self, previous: Beat | None, current: Beat, following: Beat | None) -> None:
        """Derives from the plan what will be sent and read."""
        ...

    def step(self, step: int) -> AbstractContextManager[RepeatableExchange]:
        """Other agents' rows as one active step sees them, which may be run again until the context ends."""
        ...

    def gather_boundary(self, states_BCHW: Sequence[Tensor]) -> None:
        """Fills in the other members' rows of whole latents, in place."""
        ...

    def agree(self, record: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """All members' records, in rank order."""
        ...

    def abort(self, reason: str) -> None:
        """Ends every wait at once, from any thread."""
        ...


class StopRequest:
    """Set from the channel's thread, read by the loop at boundaries and before steps."""

    def __init__(self) -> None:
        self.cancelled = False
        self.abort_reason: str | None = None

    def check_abort(self) -> None:
        """Raises EpochAbortedError once the epoch was aborted."""
        if self.abort_reason is not None:
            raise EpochAbortedError(self.abort_reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopIdentity:
    """Who runs which epoch."""

    agent: AgentId
    epoch: EpochId


@dataclass(frozen=True, slots=True)
class _Counters:
    """Marks at the last report; what comes after it, the control record included, belongs to the next one."""

    wait_s: float
    sent_bytes: int
    wall_s: float

    def worked_s_since(self, before: _Counters) -> float:
        """Wall seconds since then that were not spent blocked."""
        return max(0.0, self.wall_s - before.wall_s - (self.wait_s - before.wait_s))


def accept_every_step(step: int, prediction_BCHW: Tensor) -> StepVerdict:
    """The judge where nothing is checked."""
    del step, prediction_BCHW
    return StepVerdict.ACCEPTED


class StepLoop:
    """Denoises this agent's rows of one picture from a boundary to its end."""

    def __init__(
        self,
        *,
        identity: LoopIdentity,
        run: DenoiserRun,
        exchange: Exchange,
        book: PlanBook,
        plan_version: int,
        state: BoundaryState,
        observer: BlockObserver,
        around_exchange: Callable[[ActivationExchange], ActivationExchange],
        busy_clock: BusyClock,
        stop: StopRequest,
        tell: Callable[[AgentEvent], None],
        keep: Callable[[BoundaryState], None],
        judge: StepJudge = accept_every_step,
    ) -> None:
        self._identity = identity
        self._run = run
        self._exchange = exchange
        self._book = book
        self._version = plan_version
        self._x_BCHW = state.x_BCHW.clone()
        self._x0_BCHW = state.x0_BCHW.clone()
        self._history = state.history_steps
        self._step = state.step
        self._observer = observer
        self._judge = judge
        self._around = around_exchange
        self._busy_clock = busy_clock
        self._stop = stop
        self._tell = tell
        self._keep = keep
        self._reported = self._counters()
        self._pace = Pace()

    @torch.inference_mode()
    def denoise(self) -> BoundaryState:
        """Runs every beat.

        Returns:
            The state after the last step: ``x`` is the clean latent of all rows, on every member.

        Raises:
            EpochCancelledError: the members agreed to stop.
            EpochAbortedError: the coordinator ended the epoch.
            TransportError: a peer is gone.
        """
        self._reported = self._counters()
        previous: Beat | None = None
        current, version = self._book.beat_at(self._step, version=self._version, current_version=self._version)
        agreed = version
        while current is not None:
            following, following_version = self._book.beat_at(current.end_step, version=agreed, current_version=version)
            self._exchange.begin_beat(previous, current, following)
            state = self._run_beat(current, version, last=following is None)
            agreed = max(agreed, self._agree(state.step))
            previous, current, version = current, following, following_version
        return self._state()

    def _run_beat(self, beat: Beat, version: int, *, last: bool) -> BoundaryState:
        assignment = beat.segment.of(self._identity.agent)
        active_steps = beat.active_steps(self._identity.agent)
        busy_s = 0.0
        step_s: list[float] = []
        for step in active_steps:
            begun = self._counters()
            busy_s += self._run_step(step, assignment)
            step_s.append(self._counters().worked_s_since(begun))
            if step != active_steps[-1]:  # of the last one the beat's report tells, a moment later
                self._tell(StepDone(epoch=self._identity.epoch, step=step + assignment.stride))
        self._exchange.gather_boundary((self._x_BCHW, self._x0_BCHW))
        self._history = history_after(beat, self._history)
        self._step = beat.end_step
        state = self._state()
        kept_s = self._keep_s(state)
        counted, before = self._counters(), self._reported
        self._reported = counted
        self._pace = self._pace.after(assignment.rows.count, step_s)
        self._tell(
            BeatDone(
                report=BeatReport(
                    epoch=self._identity.epoch,
                    boundary_step=beat.end_step,
                    plan_version=version,
                    active_steps=len(active_steps),
                    busy_s=busy_s,
                    wait_s=counted.wait_s - before.wait_s,
                    sent_bytes=counted.sent_bytes - before.sent_bytes,
                    wall_s=counted.wall_s - before.wall_s - kept_s,
                    last=last,
                    step_s=tuple(step_s),
                    changed=bool(step_s) and self._pace.changed,
                )
            )
        )
        return state

    def _keep_s(self, state: BoundaryState) -> float:
        """Keeps a boundary, which may show a preview of it: no part of the beat; returns how long it took."""
        begin_s = time.perf_counter()
        self._keep(state)
        return time.perf_counter() - begin_s

    def _counters(self) -> _Counters:
        return _Counters(wait_s=self._exchange.wait_s, sent_bytes=self._exchange.sent_bytes, wall_s=time.perf_counter())

    def _run_step(self, step: int, assignment: Assignment) -> float:
        self._stop.check_abort()
        rows = self._run.geometry.latent_slice(assignment.rows)
        x_BCHW, last_x0_BCHW = self._x_BCHW[:, :, rows], self._x0_BCHW[:, :, rows]
        begin_s = self._busy_clock.read_s()
        prediction_BCHW = self._predict(x_BCHW, last_x0_BCHW, step, assignment)
        self._observer.begin_block(SAMPLER)
        next_x_BCHW, x0_BCHW = self._run.advance(
            x_BCHW,
            prediction_BCHW,
            step,
            step + assignment.stride,
            last_x0_BCHW,
            self._history[assignment.rows.begin : assignment.rows.end],
            rows=assignment.rows,
        )
        self._observer.end_block(SAMPLER)
        self._x_BCHW[:, :, rows] = next_x_BCHW
        self._x0_BCHW[:, :, rows] = x0_BCHW
        self._history = tuple(
            step if assignment.rows.begin <= row < assignment.rows.end else before
            for row, before in enumerate(self._history)
        )
        return self._busy_clock.read_s() - begin_s

    def _predict(self, x_BCHW: Tensor, x0_BCHW: Tensor, step: int, assignment: Assignment) -> Tensor:
        """The prediction that stands, of one forward or more; the latent is as it was before."""
        with self._exchange.step(step) as exchange:
            around = self._around(exchange)
            while True:
                prediction_BCHW = self._run.predict(
                    x_BCHW, step, assignment.rows, around, self._observer, x0_BCHW=x0_BCHW
                )
                if self._judge(step, prediction_BCHW) is StepVerdict.ACCEPTED:
                    return prediction_BCHW
                self._stop.check_abort()
                exchange.repeat()

    def _agree(self, boundary_step: int) -> int:
        """Exchanges the control record; returns the newest plan version that every member holds."""
        self._stop.check_abort()
        own = ControlRecord(
            boundary_step=boundary_step, newest_version=self._book.newest_version, cancelled=self._stop.cancelled
        )
        records = [ControlRecord.from_int64(numbers) for numbers in self._exchange.agree(own.to_int64())]
        if any(record.boundary_step != boundary_step for record in records):
            raise AssertionError(f"members are at different boundaries: {[each.boundary_step for each in records]}")
        if any(record.verdict is not StepVerdict.ACCEPTED for record in records):
            raise AssertionError(f"a member came to step {boundary_step} with a forward that does not stand")
        if any(record.cancelled for record in records):
            raise EpochCancelledError(f"stopped at step {boundary_step}")
        return min(record.newest_version for record in records)

    def _state(self) -> BoundaryState:
        return BoundaryState(
            step=self._step,
            x_BCHW=self._x_BCHW.clone(),
            x0_BCHW=self._x0_BCHW.clone(),
            history_steps=self._history,
        )
