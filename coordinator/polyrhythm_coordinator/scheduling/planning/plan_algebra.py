"""Plans of an epoch's gang: for some of its members, and what is left of one. Pure."""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.ids import AgentId
from polyrhythm.plan.gang_plan import widened
from polyrhythm.plan.plan import Plan, Segment


def widened_plan(plan: Plan, gang: tuple[AgentId, ...], decoder: AgentId) -> Plan:
    """The same rows, strides and beats in a larger gang.

    Args:
        plan: its members are in the gang.
        gang: in rank order.
        decoder: of the result.
    """
    segments = tuple(widened(segment, gang) for segment in plan.segments)
    return replace(plan, segments=segments, decoder=decoder)


def rest_of(plan: Plan, begin_step: int) -> tuple[Segment, ...]:
    """What is left of a plan's segments from one of its boundaries on."""
    return tuple(
        replace(segment, begin_step=max(segment.begin_step, begin_step))
        for segment in plan.segments
        if segment.end_step > begin_step
    )
