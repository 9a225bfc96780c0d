"""Epochs that end before their time: at the next boundary, at once, or because nothing is heard any more.

What becomes of the picture once all members are gone is in ``ending`` and ``resume``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from polyrhythm.errors import AgentsLostError
from polyrhythm.ids import AgentId, EpochId
from polyrhythm.job.events import ReplanReason
from polyrhythm.session.commands import AbortEpoch, CancelEpoch
from polyrhythm_coordinator.scheduling.epochs.deadlines import (
    abort_deadline_s,
    boundary_deadline_s,
    decoding_extra_s,
)
from polyrhythm_coordinator.scheduling.state.effects import DisconnectAgent
from polyrhythm_coordinator.scheduling.state.epoch import Epoch, EpochStage
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def cancel_epoch(tx: Transaction, name: EpochId) -> None:
    """Asks all members to stop at the next boundary; they are told to stop at once if none comes in time.

    After the last boundary there is none to stop at, and the decoding of the picture is let end.
    """
    epoch = tx.state.epochs[name]
    match epoch.stage:
        case EpochStage.FORMING | EpochStage.RUNNING:
            _stop_at_boundary(tx, epoch, EpochStage.CANCELLING)
        case EpochStage.HANDING_OVER:  # they were asked already
            tx.put_epoch(replace(epoch, stage=EpochStage.CANCELLING))
        case EpochStage.CANCELLING | EpochStage.ABORTING:
            pass
        case _:
            assert_never(epoch.stage)


def hand_over_epoch(tx: Transaction, name: EpochId, reason: ReplanReason, agents: Iterable[AgentId]) -> None:
    """Asks all members to stop at the next boundary, from which another gang goes on; the gang stays intact.

    After the last boundary nothing is left to hand over: the picture is made as planned.

    Args:
        tx: the transition.
        name: of the epoch.
        reason: why.
        agents: of the other gang; those that are not members begin nothing else until then.
    """
    epoch = tx.state.epochs[name]
    epoch = replace(epoch, handover=reason, joining=frozenset(agents).difference(epoch.members))
    _stop_at_boundary(tx, epoch, EpochStage.HANDING_OVER)


def abort_epoch(tx: Transaction, name: EpochId, cause: str) -> None:
    """Tells all members to stop at once and waits for their account of what they hold."""
    epoch = tx.state.epochs[name]
    if epoch.stage is EpochStage.ABORTING:
        return
    deadline_s = abort_deadline_s(epoch, tx.limits, tx.now_s)
    tx.put_epoch(replace(epoch, stage=EpochStage.ABORTING, deadline_s=deadline_s, cause=cause))
    for agent in epoch.present:
        tx.send(agent, AbortEpoch(epoch=name, reason=cause))


def overdue(tx: Transaction) -> tuple[DisconnectAgent, ...]:
    """Ends the patience with epochs whose deadline has passed.

    Returns:
        Agents that did not leave an aborted epoch in time; the caller loses them.
    """
    hung: list[DisconnectAgent] = []
    for epoch in tuple(tx.state.epochs.values()):
        if tx.now_s < epoch.deadline_s:
            continue
        match epoch.stage:
            case EpochStage.FORMING:
                abort_epoch(tx, epoch.epoch, "the gang was not formed in time")
            case EpochStage.RUNNING:
                abort_epoch(tx, epoch.epoch, f"no progress after step {epoch.step}")
            case EpochStage.CANCELLING | EpochStage.HANDING_OVER:
                if tx.now_s >= epoch.deadline_s + decoding_extra_s(epoch, tx.limits):
                    abort_epoch(tx, epoch.epoch, "no boundary came in time to cancel at")
            case EpochStage.ABORTING:
                hung.extend(_hung(tx, epoch))
    return tuple(hung)


def _stop_at_boundary(tx: Transaction, epoch: Epoch, stage: EpochStage) -> None:
    deadline_s = boundary_deadline_s(epoch, tx.limits, tx.now_s)
    tx.put_epoch(replace(epoch, stage=stage, deadline_s=deadline_s))
    for agent in epoch.present:
        tx.send(agent, CancelEpoch(epoch=epoch.epoch))


def _hung(tx: Transaction, epoch: Epoch) -> tuple[DisconnectAgent, ...]:
    error = AgentsLostError(f"did not leave epoch {epoch.epoch} in time")
    return tuple(
        DisconnectAgent(agent=agent, session=tx.state.agents[agent].session, error=error) for agent in epoch.present
    )
