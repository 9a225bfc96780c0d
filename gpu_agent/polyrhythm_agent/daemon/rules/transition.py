"""One step of a daemon: dispatches an event, looks at the deadlines, settles what an idle worker owes."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from polyrhythm.session.commands import ForgetJob
from polyrhythm_agent.daemon.rules.coordinator_side import carry_out, lose_coordinator
from polyrhythm_agent.daemon.rules.deadlines import check_deadlines
from polyrhythm_agent.daemon.rules.signals import (
    CommandReceived,
    CoordinatorConnected,
    CoordinatorLost,
    Effect,
    OversightEvent,
    SendDown,
    SendUp,
    TimePassed,
    WorkerEnded,
    WorkerSpoke,
)
from polyrhythm_agent.daemon.rules.state import DaemonState, Outcome, Ready
from polyrhythm_agent.daemon.rules.worker_side import bury, hear


def transition(state: DaemonState, event: OversightEvent, now_s: float) -> Outcome:
    """One step of the daemon.

    Args:
        state: before.
        event: what happened.
        now_s: when, on any monotonic clock.

    Returns:
        The state after, and what is to be done, in order.
    """
    clock, unseen_s = state.clock, state.limits.unseen_s
    state = replace(state, clock=clock.seen(now_s, unseen_s))
    now_s = clock.patient_now_s(now_s, unseen_s)  # what the worker said while the daemon stood still lies unread
    state, effects = _handle(state, event, now_s)
    state, due = check_deadlines(state, now_s)
    state, settled = _settle(state)
    return state, effects + due + settled


def _handle(state: DaemonState, event: OversightEvent, now_s: float) -> Outcome:
    match event:
        case CoordinatorConnected():
            return replace(state, connected=True, announced=False), ()
        case CoordinatorLost():
            return lose_coordinator(state, now_s)
        case CommandReceived(command=command):
            return carry_out(state, command, now_s)
        case WorkerSpoke(event=spoken):
            return hear(state, spoken, now_s)
        case WorkerEnded():
            return bury(state, event, now_s)
        case TimePassed():
            return state, ()
        case _:
            assert_never(event)


def _settle(state: DaemonState) -> Outcome:
    """What an idle worker owes: to forget the jobs of a session that has ended, then to be announced to the next."""
    ready = state.phase
    if not isinstance(ready, Ready) or not state.idle:
        return state, ()
    effects: list[Effect] = [SendDown(command=ForgetJob(job=job)) for job in state.stale_jobs]
    state = replace(state, stale_jobs=())
    if state.connected and not state.announced:
        effects.append(SendUp(event=ready.announcement))
        state = replace(state, announced=True)
    return state, tuple(effects)
