"""The scheduling core's one entry: ``transition(state, event, now_s) -> (state, effects)``. Pure.

Handlers note what happened; ``advance`` then does whatever has become possible.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from polyrhythm.errors import UnreachableError
from polyrhythm_coordinator.scheduling.advance import advance, cancel, take_plan
from polyrhythm_coordinator.scheduling.agent_messages import check_heartbeats, connect, disconnect, drain, lose, receive
from polyrhythm_coordinator.scheduling.epochs.stopping import overdue
from polyrhythm_coordinator.scheduling.queue.admission import refuse, submit, take_store_answer
from polyrhythm_coordinator.scheduling.queue.inquiries import fail_inquiry
from polyrhythm_coordinator.scheduling.state.effects import DisconnectAgent, Effect, FailJob
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
    Stopping,
    StoringFailed,
    Tick,
)
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.transaction import Transaction

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
    tx = Transaction(state, now_s)
    if state.stopping:
        _turn_away(tx, event)
        return tx.state, tuple(tx.effects)
    _take(tx, event)
    advance(tx)
    return tx.state, tuple(tx.effects)


def _take(tx: Transaction, event: Event) -> None:
    match event:
        case AgentConnected():
            connect(tx, event)
        case AgentEventReceived():
            receive(tx, event)
        case AgentDisconnected(agent=agent, session=session, reason=reason):
            lose(tx, agent, session, reason)
        case AgentDrained(agent=agent, undo=undo):
            drain(tx, agent, undo=undo)
        case JobSubmitted():
            submit(tx, event)
        case JobStored() | StoringFailed():
            take_store_answer(tx, event)
        case JobCancelled():
            cancel(tx, event)
        case PlanComputed() | PlanFailed():
            take_plan(tx, event)
        case Tick():
            _tick(tx)
        case Stopping():
            _stop(tx)
        case _:
            assert_never(event)


def _tick(tx: Transaction) -> None:
    tx.state = replace(tx.state, clock=tx.state.clock.seen(tx.clock_s, tx.limits.unticked_s))
    check_heartbeats(tx)
    for hung in overdue(tx):
        if hung.agent in tx.state.agents:
            disconnect(tx, hung.agent, hung.error)


def _stop(tx: Transaction) -> None:
    """Ends every job and every stream."""
    error = UnreachableError(STOPPING)
    for applicant in tuple(tx.state.applicants.values()):
        refuse(tx, applicant, error)
    for inquiry in tuple(tx.state.inquiries.values()):
        fail_inquiry(tx, inquiry, error)
    for job in tuple(tx.state.jobs):
        tx.fail_job(job, error)
    for name in tuple(tx.state.agents):
        disconnect(tx, name, error)
    tx.state = replace(tx.state, stopping=True)


def _turn_away(tx: Transaction, event: Event) -> None:
    """What comes after the end is refused; the rest no longer matters."""
    error = UnreachableError(STOPPING)
    match event:
        case AgentConnected(session=session, register=register):
            tx.emit(DisconnectAgent(agent=register.agent, session=session, error=error))
        case JobSubmitted(job=job):
            tx.emit(FailJob(job=job, error=error))
        case _:
            pass
