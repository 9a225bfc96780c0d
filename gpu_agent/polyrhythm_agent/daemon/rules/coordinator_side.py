"""What the coordinator's commands, and its loss, mean for the worker."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from polyrhythm.ids import AgentId, EpochId
from polyrhythm.plan.plan import Segment
from polyrhythm.session.commands import (
    AbortEpoch,
    AgentCommand,
    CancelEpoch,
    CountTokens,
    ExtendPlan,
    ForgetJob,
    MeasureProfile,
    StartEpoch,
    StopMeasuring,
    Welcome,
)
from polyrhythm.session.events import EpochEnded, EpochOutcome, RequestFailed
from polyrhythm.session.rendezvous import StoreReply
from polyrhythm_agent.daemon.rules.signals import Note, SendDown, SendUp
from polyrhythm_agent.daemon.rules.state import DaemonState, Outcome, Question, Ready, Run, Stage


def lose_coordinator(state: DaemonState, now_s: float) -> Outcome:
    """Nobody leads the epoch any more: the worker leaves it, and what it still answers is told to nobody.

    Nor does anybody wait for a measurement. Which questions are about one the worker knows, and ignores the others.
    """
    stops = tuple(SendDown(command=StopMeasuring(request_id=question.request_id)) for question in state.questions)
    state = replace(
        state,
        connected=False,
        announced=False,
        questions=tuple(replace(question, orphaned=True) for question in state.questions),
        jobs=(),
        stale_jobs=(*state.stale_jobs, *state.jobs),
    )
    if state.run is None:
        return state, stops
    state = replace(state, run=replace(state.run, orphaned=True))
    state, aborted = abort_run(state, "the coordinator is gone", now_s)
    return state, (*stops, *aborted)


def carry_out(  # noqa: PLR0911 - one return a command
    state: DaemonState, command: AgentCommand, now_s: float
) -> Outcome:
    """Relays a command, or answers it where the worker cannot."""
    match command:
        case StartEpoch():
            return _start_epoch(state, command, now_s)
        case MeasureProfile() | CountTokens():
            return _ask(state, command, now_s)
        case ExtendPlan():
            return _extend_plan(state, command)
        case CancelEpoch():
            return _pass_to_run(state, command, command.epoch)
        case AbortEpoch():
            if state.run is None or state.run.epoch != command.epoch:
                return state, ()  # it has ended here already, and its end was told
            return abort_run(state, command.reason, now_s)
        case StopMeasuring():
            return state, (SendDown(command=command),) if isinstance(state.phase, Ready) else ()
        case ForgetJob():
            jobs = tuple(job for job in state.jobs if job != command.job)
            return replace(state, jobs=jobs), (SendDown(command=command),) if isinstance(state.phase, Ready) else ()
        case StoreReply():
            return state, (SendDown(command=command),) if isinstance(state.phase, Ready) else ()
        case Welcome():
            return state, (Note(text="a second Welcome in one session was ignored"),)
        case _:
            assert_never(command)


def abort_run(state: DaemonState, reason: str, now_s: float) -> Outcome:
    """Tells the worker once to leave its epoch, and from then on counts its time."""
    run = state.run
    if run is None or run.leave_by_s is not None:
        return state, ()
    patience_s = state.limits.abort_s + state.limits.abort_slack * run.uninterruptible_s
    patience_s += state.limits.alone_extra_s if run.alone else 0.0
    told = replace(run, leave_by_s=now_s + patience_s)
    return replace(state, run=told), (SendDown(command=AbortEpoch(epoch=run.epoch, reason=reason)),)


def _start_epoch(state: DaemonState, command: StartEpoch, now_s: float) -> Outcome:
    """Passes it on to a worker that is in no epoch; otherwise answers that this member takes no part."""
    if not isinstance(state.phase, Ready) or state.run is not None:
        obstacle = "the worker is not ready" if state.run is None else f"epoch {state.run.epoch} has not ended"
        refusal = EpochEnded(
            epoch=command.epoch,
            outcome=EpochOutcome.FAILED,
            held_boundaries=(),
            message=f"{state.agent}: {obstacle}",
            gang_intact=False,
        )
        return state, (SendUp(event=refusal),)
    run = Run(
        epoch=command.epoch,
        stage=Stage.JOINING,
        alone=len(command.members) == 1,
        step_timeout_s=command.step_timeout_s,
        uninterruptible_s=command.uninterruptible_s,
        step_limit_s=_step_limit_s(command.step_timeout_s, command.segments, state.agent),
        progress_s=now_s,
    )
    jobs = state.jobs if command.job in state.jobs else (*state.jobs, command.job)
    return replace(state, run=run, jobs=jobs), (SendDown(command=command),)


def _ask(state: DaemonState, command: MeasureProfile | CountTokens, now_s: float) -> Outcome:
    if not isinstance(state.phase, Ready):
        failed = RequestFailed(request_id=command.request_id, message=f"{state.agent}: the worker is not ready")
        return state, (SendUp(event=failed),)
    question = Question(request_id=command.request_id, asked_s=now_s)
    return replace(state, questions=(*state.questions, question)), (SendDown(command=command),)


def _extend_plan(state: DaemonState, command: ExtendPlan) -> Outcome:
    run = state.run
    if run is not None and run.epoch == command.epoch:
        # The longest of all versions: which of them the worker follows is agreed without the daemon.
        step_timeout_s = max(run.step_timeout_s, command.step_timeout_s)
        run = replace(
            run,
            step_timeout_s=step_timeout_s,
            uninterruptible_s=max(run.uninterruptible_s, command.uninterruptible_s),
            step_limit_s=max(run.step_limit_s, _step_limit_s(step_timeout_s, command.segments, state.agent)),
        )
        state = replace(state, run=run)
    return _pass_to_run(state, command, command.epoch)


def _step_limit_s(step_timeout_s: float, segments: tuple[Segment, ...], agent: AgentId) -> float:
    """Longest silence while stepping: one step, or one whole beat where this agent holds no rows and only waits."""
    idle_beats = [s.beat_steps for s in segments if agent in s.agents and not s.of(agent).rows.count]
    return step_timeout_s * max([1, *idle_beats])


def _pass_to_run(state: DaemonState, command: AgentCommand, epoch: EpochId) -> Outcome:
    if state.run is None or state.run.epoch != epoch:
        return state, ()  # it has ended here already, and its end was told
    return state, (SendDown(command=command),)
