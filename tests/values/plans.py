"""Plans for tests, written by hand: short ways to say who holds which rows when."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.rows import ranges_from_counts


def agent_ids(count: int) -> tuple[AgentId, ...]:
    return tuple(AgentId(f"agent-{index}") for index in range(count))


def segment(
    begin_step: int,
    end_step: int,
    counts: tuple[int, ...],
    *,
    exchange: Exchange = Exchange.SYNCHRONOUS,
    strides: tuple[int, ...] | None = None,
    beat_steps: int = 2,
    agents: tuple[AgentId, ...] | None = None,
) -> Segment:
    """A segment in which agent ``i``, or the one named there, holds the next ``counts[i]`` rows from the top."""
    strides = strides or (1,) * len(counts)
    agents = agents or agent_ids(len(counts))
    return Segment(
        begin_step=begin_step,
        end_step=end_step,
        beat_steps=beat_steps,
        exchange=exchange,
        assignments=tuple(
            Assignment(agent=agent, rows=rows, stride=stride)
            for agent, rows, stride in zip(agents, ranges_from_counts(counts), strides, strict=True)
        ),
    )


def plan(*segments: Segment, begin_step: int = 0, version: int = 1) -> Plan:
    """A plan of these segments; the first agent encodes, the last one decodes."""
    agents = segments[0].agents
    return Plan(
        version=version,
        begin_step=begin_step,
        steps=segments[-1].end_step,
        segments=segments,
        encoder=agents[0],
        decoder=agents[-1],
    )


def exact_plan(steps: int, counts: tuple[int, ...], *, beat_steps: int = 4) -> Plan:
    """One synchronous segment."""
    return plan(segment(0, steps, counts, beat_steps=beat_steps))


def settled(followed: Plan) -> Plan:
    """The same plan, but for two synchronous steps wherever rows move into displaced ones."""
    segments = [followed.segments[0]]
    for before, after in pairwise(followed.segments):
        moved = [one.rows for one in before.assignments] != [one.rows for one in after.assignments]
        if not moved or after.exchange is Exchange.SYNCHRONOUS:
            segments.append(after)
            continue
        middle = after.begin_step + 2
        in_step = tuple(replace(one, stride=1) for one in after.assignments)
        segments.append(
            replace(after, end_step=middle, beat_steps=2, exchange=Exchange.SYNCHRONOUS, assignments=in_step)
        )
        if middle < after.end_step:
            segments.append(replace(after, begin_step=middle))
    return replace(followed, segments=tuple(segments))
