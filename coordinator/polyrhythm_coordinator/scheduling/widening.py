"""A plan for some members of a gang as a plan for all of it: the others hold no rows. Pure."""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.ids import AgentId
from polyrhythm.plan import Assignment, Plan, Segment
from polyrhythm.rows import ranges_from_counts


def widened(plan: Plan, gang: tuple[AgentId, ...], decoder: AgentId) -> Plan:
    """The same rows, strides and beats in a larger gang.

    Args:
        plan: its members are in the gang, in the gang's order.
        gang: in rank order.
        decoder: of the result.
    """
    segments = tuple(_widened(segment, gang) for segment in plan.segments)
    return replace(plan, segments=segments, decoder=decoder)


def _widened(segment: Segment, gang: tuple[AgentId, ...]) -> Segment:
    held = {assignment.agent: assignment for assignment in segment.assignments}
    rows = ranges_from_counts(held[agent].rows.count if agent in held else 0 for agent in gang)
    assignments = tuple(
        replace(held[agent], rows=own) if agent in held else Assignment(agent=agent, rows=own)
        for agent, own in zip(gang, rows, strict=True)
    )
    return replace(segment, assignments=assignments)


def rest_of(plan: Plan, begin_step: int) -> tuple[Segment, ...]:
    """What is left of a plan's segments from one of its boundaries on."""
    return tuple(
        replace(segment, begin_step=max(segment.begin_step, begin_step))
        for segment in plan.segments
        if segment.end_step > begin_step
    )
