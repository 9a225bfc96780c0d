"""What a daemon does when time passes and nothing is heard."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from polyrhythm_agent.daemon.rules.coordinator_side import abort_run
from polyrhythm_agent.daemon.rules.signals import Note, StartWorker
from polyrhythm_agent.daemon.rules.state import (
    Absent,
    DaemonState,
    Ending,
    Outcome,
    Ready,
    Run,
    Stage,
    Starting,
    Unusable,
)
from polyrhythm_agent.daemon.rules.worker_side import give_up


def check_deadlines(state: DaemonState, now_s: float) -> Outcome:
    """Starts a worker that is due; gives one up that was silent for too long."""
    limits = state.limits
    phase = state.phase
    match phase:
        case Absent(restart_at_s=restart_at_s):
            if now_s >= restart_at_s:
                return replace(state, phase=Starting(heard_s=now_s)), (StartWorker(),)
        case Starting(heard_s=heard_s):
            if now_s - heard_s > limits.start_s:
                return give_up(state, f"the worker did not get on with loading for {limits.start_s:g} s", now_s)
        case Ready(heard_s=heard_s):
            if now_s - heard_s > limits.heartbeat_s:
                return give_up(state, f"no heartbeat of the worker for {limits.heartbeat_s:g} s", now_s)
            if state.run is not None:
                return _check_run(state, state.run, now_s)
            if any(now_s - question.asked_s > limits.request_s for question in state.questions):
                return give_up(state, f"the worker left a request unanswered for {limits.request_s:g} s", now_s)
        case Ending() | Unusable():
            pass
        case _:
            assert_never(phase)
    return state, ()


def _check_run(state: DaemonState, run: Run, now_s: float) -> Outcome:
    """Progress of the epoch. Silence alone convicts nobody: the worker may wait for a peer that hangs.

    So it is told to leave the epoch. One that only waits does, and its end is relayed; one that hangs does not, and
    is killed.
    """
    if run.leave_by_s is not None:
        if now_s <= run.leave_by_s:
            return state, ()
        reason = f"the worker did not leave epoch {run.epoch} in time after it was told to"
        return give_up(state, reason, now_s)
    limit_s = _progress_limit_s(state, run)
    if now_s - run.progress_s <= limit_s:
        return state, ()
    reason = f"{state.agent} saw no progress for {limit_s:.3g} s while {run.stage}"
    state, effects = abort_run(state, reason, now_s)
    return state, (Note(text=reason), *effects)


def _progress_limit_s(state: DaemonState, run: Run) -> float:
    match run.stage:
        case Stage.JOINING:
            return state.limits.join_s
        case Stage.STEPPING:
            return run.step_limit_s
        case Stage.DECODING:
            return state.limits.decode_s
        case _:
            assert_never(run.stage)
