"""Which segments of a plan an epoch's members must hold, and how they get them.

The first ones come with the start of the epoch; a newer version of the plan is sent whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Plan
from polyrhythm.session.commands import ExtendPlan
from polyrhythm_coordinator.scheduling.epochs.deadlines import step_timeout_s
from polyrhythm_coordinator.scheduling.planning.forecast import Forecast
from polyrhythm_coordinator.scheduling.state.epoch import Epoch, EpochStage
from polyrhythm_coordinator.scheduling.state.replan import Takeover
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.scheduling.state.transaction import Transaction

BEATS_AHEAD = 2
"""Beats beyond the present one that all members know: the next one decides what they send, one is on its way."""


def beats_ahead(limits: Limits, course: Forecast, boundary: int) -> int:
    """Beats beyond the last reported one that all members must know: reports may be a heartbeat's interval old."""
    return BEATS_AHEAD + course.beats_within(boundary, limits.heartbeat_interval_s)


def segments_due(plan: Plan, boundary: int, beats_ahead: int) -> int:
    """How many of a plan's segments all members must hold once one of them has completed a boundary.

    The whole segment after the present one is always among them, and at least ``beats_ahead`` beats.
    """
    beats = tuple(plan.beats())
    present = next((index for index, beat in enumerate(beats) if beat.begin_step >= boundary), len(beats) - 1)
    ahead = beats[min(present + beats_ahead, len(beats) - 1)]
    begins = [segment.begin_step for segment in plan.segments]
    after_present = begins.index(beats[present].segment.begin_step) + 1
    return min(max(after_present, begins.index(ahead.segment.begin_step)) + 1, len(begins))


def send_due_segments(tx: Transaction, epoch: Epoch) -> Epoch:
    """Sends what is due of the plan in force and has not been sent."""
    sent, course = epoch.segments_sent, epoch.forecast
    if sent == len(epoch.plan.segments) or epoch.stage is EpochStage.ABORTING:
        return epoch
    due = segments_due(epoch.plan, epoch.boundary, beats_ahead(tx.limits, course, epoch.boundary))
    if due <= sent:
        return epoch
    _extend(tx, epoch, epoch.plan, slice(sent, due), course, epoch.needs_bytes)
    return replace(epoch, segments_sent=due)


def send_version(tx: Transaction, epoch: Epoch, newer: Takeover) -> None:
    """Sends a newer version to all members, whole: none of them ever waits for a part of it."""
    _extend(tx, epoch, newer.plan, slice(0, None), newer.forecast, newer.needs_bytes)


def _extend(
    tx: Transaction, epoch: Epoch, plan: Plan, part: slice, course: Forecast, needs_bytes: Mapping[AgentId, int]
) -> None:
    segments = plan.segments[part]
    command = ExtendPlan(
        epoch=epoch.epoch,
        plan_version=plan.version,
        segments=segments,
        complete=segments[-1].end_step == plan.steps,
        step_timeout_s=step_timeout_s(tx.limits, course, previews=True),
        uninterruptible_s=course.uninterruptible_s,
    )
    for agent in epoch.present:
        tx.send(agent, replace(command, memory_need_bytes=needs_bytes.get(agent, 0)))
