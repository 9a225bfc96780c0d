"""Random values of the vocabulary, valid by construction."""

from __future__ import annotations

from hypothesis import strategies as st

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.rows import RowRange, ranges_from_counts


@st.composite
def row_ranges(draw: st.DrawFn, *, members: int, row_count: int, empty: bool = True) -> tuple[RowRange, ...]:
    """A range for each member, in any order of the image; they partition it. Some are empty, unless told otherwise."""
    cut = st.integers(0, row_count) if empty else st.integers(1, row_count - 1)
    cuts = sorted(draw(st.lists(cut, min_size=members - 1, max_size=members - 1, unique=not empty)))
    counts = [end - begin for begin, end in zip([0, *cuts], [*cuts, row_count], strict=True)]
    return tuple(draw(st.permutations(ranges_from_counts(counts))))


@st.composite
def segments(
    draw: st.DrawFn,
    *,
    begin_step: int,
    agents: tuple[AgentId, ...],
    row_count: int,
    exchanges: tuple[Exchange, ...] = tuple(Exchange),
    strides: tuple[int, ...] = (1, 2),
) -> Segment:
    """One segment of some intervals; rows in any order, some perhaps empty."""
    exchange = draw(st.sampled_from(exchanges))
    allowed = strides if exchange is Exchange.DISPLACED else (1,)
    ranges = draw(row_ranges(members=len(agents), row_count=row_count))
    assignments = tuple(
        Assignment(agent=agent, rows=rows, stride=draw(st.sampled_from(allowed)))
        for agent, rows in zip(agents, ranges, strict=True)
    )
    interval_steps = max(a.stride for a in assignments)  # a chain of divisors: the largest is the common multiple
    return Segment(
        begin_step=begin_step,
        end_step=begin_step + interval_steps * draw(st.integers(1, 4)),
        beat_steps=interval_steps * draw(st.integers(1, 3)),
        exchange=exchange,
        assignments=assignments,
    )


@st.composite
def plans(
    draw: st.DrawFn,
    *,
    agents_min: int = 1,
    agents_max: int = 4,
    row_count_max: int = 8,
    segments_max: int = 4,
    strides: tuple[int, ...] = (1, 2),
) -> Plan:
    """A valid plan: the first segment synchronous where there are several agents, then anything.

    Args:
        draw: of hypothesis.
        agents_min: smallest gang.
        agents_max: largest gang.
        row_count_max: highest image, in row units.
        segments_max: most segments.
        strides: that displaced segments may take; each divides the next.
    """
    names = tuple(AgentId(name) for name in ("ash", "birch", "cedar", "dogwood", "elm", "fir")[:agents_max])
    agents = names[: draw(st.integers(agents_min, agents_max))]
    row_count = draw(st.integers(1, row_count_max))
    begin_step = step = draw(st.integers(0, 5))
    planned: list[Segment] = []
    for index in range(draw(st.integers(1, segments_max))):
        first = index == 0 and len(agents) > 1
        exchanges = (Exchange.SYNCHRONOUS,) if first else tuple(Exchange)
        segment = draw(
            segments(begin_step=step, agents=agents, row_count=row_count, exchanges=exchanges, strides=strides)
        )
        planned.append(segment)
        step = segment.end_step
    return Plan(
        version=1,
        begin_step=begin_step,
        steps=step,
        segments=tuple(planned),
        encoder=draw(st.sampled_from(agents)),
        decoder=draw(st.sampled_from(agents)),
    )
