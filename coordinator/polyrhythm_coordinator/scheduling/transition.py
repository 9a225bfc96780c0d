"""The scheduling core's one entry: ``transition(state, event, now_s) -> (state, effects)``. Pure.

Handlers note what happened; ``advance`` then does whatever has become possible.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from polyrhythm.errors import UnreachableError
from polyrhythm_coordinator.scheduling.advance import advance, cancel, take_plan, take_plan_failure
from polyrhythm_coordinator.scheduling.agent_messages import check_heartbeats, connect, disconnect, drain, lose, receive
from polyrhythm_coordinator.scheduling.epochs.plan_delivery import tell_progress
from polyrhythm_coordinator.scheduling.epochs.recovery import overdue
from polyrhythm_coordinator.scheduling.fleet.stalls import allow_for_own_pause
from polyrhythm_coordinator.scheduling.queue.admission import refuse, submit
from polyrhythm_coordinator.scheduling.state.effects import DisconnectAgent, Effect
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
    Stopping,
    Tick,
)
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.transaction import Turn

STOPPING = "the coordinator is stopping"


def transition(state: State, event: Event, now_s: float) -> tuple[State, tuple[Effect, ...]]:
    """Takes one event into account.

    Args:
        state: so far.
        event: what happened.
        now_s: when, on a clock that never runs backwards.

    Returns:
        The state afterwards, and what is to be done, in order.
    """
    turn = Turn(state, now_s)
    if state.stopping:
        _turn_away(turn, event)
        return turn.state, tuple(turn.effects)
    allow_for_own_pause(turn)
    match event:
        case AgentConnected():
            connect(turn, event)
        case AgentEventReceived():
            receive(turn, event)
        case AgentDisconnected(agent=agent, session=session, reason=reason):
            lose(turn, agent, session, reason)
        case AgentDrained(agent=agent, undo=undo):
            drain(turn, agent, undo=undo)
        case JobSubmitted():
            submit(turn, event)
        case JobCancelled():
            cancel(turn, event)
        case PlanComputed():
            take_plan(turn, event)
        case PlanFailed():
            take_plan_failure(turn, event)
        case Tick():
            _tick(turn)
        case Stopping():
            _stop(turn)
        case _:
            assert_never(event)
    advance(turn)
    return turn.state, tuple(turn.effects)


def _tick(turn: Turn) -> None:
    turn.state = replace(turn.state, last_tick_s=turn.now_s)
    for epoch in tuple(turn.state.epochs.values()):
        tell_progress(turn, epoch)  # what was held back because the last telling was just before
    check_heartbeats(turn)
    for hung in overdue(turn):
        if hung.agent in turn.state.agents:
            disconnect(turn, hung.agent, hung.error)


def _stop(turn: Turn) -> None:
    """Ends every job and every stream."""
    error = UnreachableError(STOPPING)
    for applicant in tuple(turn.state.applicants.values()):
        refuse(turn, applicant, error)
    for job in tuple(turn.state.jobs):
        turn.fail_job(job, error)
    for name in tuple(turn.state.agents):
        disconnect(turn, name, error)
    turn.state = replace(turn.state, stopping=True)


def _turn_away(turn: Turn, event: Event) -> None:
    """What comes after the end is refused; the rest no longer matters."""
    error = UnreachableError(STOPPING)
    match event:
        case AgentConnected(session=session, register=register):
            turn.emit(DisconnectAgent(agent=register.agent, session=session, error=error))
        case JobSubmitted():
            submit(turn, event)
            refuse(turn, turn.state.applicants[event.job], error)
        case _:
            pass
