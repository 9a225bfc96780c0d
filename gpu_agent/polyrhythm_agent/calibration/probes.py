"""The plans that a calibration runs: disturbances one at a time, and several at once. Pure.

Two members of one process share the picture in two halves; what a probe leaves undisturbed is synchronous or runs on
the first member alone, so its error comes from the disturbance and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from polyrhythm.ids import AgentId
from polyrhythm.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.rows import ranges_from_counts

MEMBERS = (AgentId("upper"), AgentId("lower"))
FIRST_WINDOW_STEPS = 3
"""The first window: steps that every policy of the planner makes synchronous, or most of them."""
WINDOWS = 10
"""About so many windows and places a grid; what lies between is interpolated."""
STEPS_MIN = 8
"""A shorter grid has no room for windows and places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Which windows and places of a grid are measured.

    Attributes:
        steps: fine steps.
        stale_begin_steps: first step of each window; the last one ends with the grid.
        merge_steps: first step of each jump over two fine steps.
    """

    steps: int
    stale_begin_steps: tuple[int, ...]
    merge_steps: tuple[int, ...]

    def window(self, index: int) -> tuple[int, int]:
        """First and last step, the last one exclusive, of a window."""
        ends = (*self.stale_begin_steps[1:], self.steps)
        return self.stale_begin_steps[index], ends[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One plan, and the disturbances in it by their index: windows first, then places.

    Attributes:
        plan: begins where its first disturbance needs it to.
        disturbances: ascending.
    """

    plan: Plan
    disturbances: tuple[int, ...]


def grid_of(steps: int) -> Grid:
    """About ten windows and ten places, evenly spread.

    Raises:
        ValueError: the grid is too short.
    """
    if steps < STEPS_MIN:
        raise ValueError(f"a calibration needs at least {STEPS_MIN} steps, got {steps}")
    width = max(2, steps // WINDOWS)
    first = 1 + FIRST_WINDOW_STEPS
    return Grid(
        steps=steps,
        stale_begin_steps=(1, *range(first, steps - 1, width)),
        merge_steps=tuple(range(0, steps - 1, width)),
    )


def reference_plan(steps: int, rows: int) -> Plan:
    """One device alone, with a boundary after every step, from which probes can go on."""
    return _plan([_whole(0, steps, rows, beat_steps=1)], steps)


def single_probes(grid: Grid, rows: int) -> tuple[Probe, ...]:
    """Each disturbance alone, in the order of their indices."""
    windows = [
        Probe(plan=_stale_plan(grid, *grid.window(index), rows), disturbances=(index,))
        for index in range(len(grid.stale_begin_steps))
    ]
    merges = [_merge_probe(grid, (index,), rows) for index in range(len(grid.merge_steps))]
    return (*windows, *merges)


def joint_probes(grid: Grid, rows: int) -> tuple[Probe, ...]:
    """Several disturbances at once: displaced throughout, and uniformly fewer steps on the same grid, three ways."""
    windows = len(grid.stale_begin_steps)
    places = range(len(grid.merge_steps))
    displaced = Probe(
        plan=_stale_plan(grid, grid.stale_begin_steps[1], grid.steps, rows), disturbances=tuple(range(1, windows))
    )
    spreads = (places, places[1::2], places[len(places) // 2 :])
    return (displaced, *(_merge_probe(grid, tuple(spread), rows) for spread in spreads))


def _stale_plan(grid: Grid, begin: int, end: int, rows: int) -> Plan:
    upper = rows - rows // 2
    halves = [
        _segment(begin - 1, begin, (upper, rows - upper), Exchange.SYNCHRONOUS, stride=1, beat_steps=1),
        _segment(begin, end, (upper, rows - upper), Exchange.DISPLACED, stride=1, beat_steps=1),
    ]
    rest = [_whole(end, grid.steps, rows)] if end < grid.steps else []
    return _plan([*halves, *rest], grid.steps)


def _merge_probe(grid: Grid, places: Sequence[int], rows: int) -> Probe:
    segments: list[Segment] = []
    step = grid.merge_steps[places[0]]
    for place in places:
        begin = grid.merge_steps[place]
        if begin > step:
            segments.append(_whole(step, begin, rows))
        segments.append(_segment(begin, begin + 2, (rows,), Exchange.DISPLACED, stride=2, beat_steps=2))
        step = begin + 2
    if step < grid.steps:
        segments.append(_whole(step, grid.steps, rows))
    windows = len(grid.stale_begin_steps)
    return Probe(plan=_plan(segments, grid.steps), disturbances=tuple(windows + place for place in places))


def _whole(begin: int, end: int, rows: int, *, beat_steps: int = 4) -> Segment:
    return _segment(begin, end, (rows,), Exchange.SYNCHRONOUS, stride=1, beat_steps=beat_steps)


def _segment(
    begin: int, end: int, counts: tuple[int, ...], exchange: Exchange, *, stride: int, beat_steps: int
) -> Segment:
    return Segment(
        begin_step=begin,
        end_step=end,
        beat_steps=beat_steps,
        exchange=exchange,
        assignments=tuple(
            Assignment(agent=agent, rows=rows, stride=stride)
            for agent, rows in zip(MEMBERS, ranges_from_counts(counts), strict=False)
        ),
    )


def _plan(segments: Sequence[Segment], steps: int) -> Plan:
    """The segments as one plan; where some are of one member and some of two, the second holds no rows in the first."""
    members = max((segment.agents for segment in segments), key=len)
    return Plan(
        version=1,
        begin_step=segments[0].begin_step,
        steps=steps,
        segments=tuple(_on(segment, members) for segment in segments),
        encoder=members[0],
        decoder=members[0],
    )


def _on(segment: Segment, members: tuple[AgentId, ...]) -> Segment:
    if segment.agents == members:
        return segment
    counts = [a.rows.count for a in segment.assignments] + [0] * (len(members) - len(segment.agents))
    return Segment(
        begin_step=segment.begin_step,
        end_step=segment.end_step,
        beat_steps=segment.beat_steps,
        exchange=segment.exchange,
        assignments=tuple(
            Assignment(agent=agent, rows=rows, stride=segment.assignments[0].stride)
            for agent, rows in zip(members, ranges_from_counts(counts), strict=True)
        ),
    )
