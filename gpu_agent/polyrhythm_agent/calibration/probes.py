"""The plans that a calibration runs: disturbances one at a time, and several at once. Pure.

Members of one process share the picture; what a probe leaves undisturbed is synchronous or runs on the first member
alone, so its error comes from the disturbance and nothing else. Single disturbances are measured on two halves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from polyrhythm.ids import AgentId
from polyrhythm.model.calibration import EARLY_JUMP, SECOND_ORDER_SAMPLERS, kind_of_jump
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.rows import ranges_from_counts

MEMBERS = tuple(AgentId(name) for name in ("first", "second", "third", "fourth"))
MEMBERS_MIN, MEMBERS_MAX = 2, len(MEMBERS)
FIRST_WINDOW_STEPS = 3
"""The first window: steps that every policy of the planner makes synchronous, or most of them."""
WINDOWS = 7
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
        following_steps: those of them that are also measured after a jump that ends there.
        unequal_begin_steps: first step of each window of unequal strides; the last one ends with the grid.
    """

    steps: int
    stale_begin_steps: tuple[int, ...]
    merge_steps: tuple[int, ...]
    following_steps: tuple[int, ...]
    unequal_begin_steps: tuple[int, ...]

    @property
    def jump_steps(self) -> tuple[tuple[int, ...], ...]:
        """Where each plan of one device jumps, of those that single jumps and two in a row are measured by."""
        wanted = [(step,) for step in self.merge_steps]
        for step in self.following_steps:
            wanted += [(step - 2,), (step - 2, step)]
        return tuple(dict.fromkeys(wanted))

    @property
    def stale_windows(self) -> tuple[tuple[int, int], ...]:
        """First and last step, the last one exclusive, of each window of stale activations."""
        return tuple(pairwise((*self.stale_begin_steps, self.steps)))

    @property
    def unequal_windows(self) -> tuple[tuple[int, int], ...]:
        """The same of each window of unequal strides."""
        return tuple(pairwise((*self.unequal_begin_steps, self.steps)))


def grid_of(steps: int, sampler: Sampler) -> Grid:
    """About ten windows and ten places, evenly spread; jumps in a row for samplers that look back.

    The last step, and the last jump, are measured by themselves: nothing corrects what they do.

    Raises:
        ValueError: the grid is too short.
    """
    if steps < STEPS_MIN:
        raise ValueError(f"a calibration needs at least {STEPS_MIN} steps, got {steps}")
    width = max(2, steps // WINDOWS)
    first = 1 + FIRST_WINDOW_STEPS
    merges = (*range(0, steps - 3, width), steps - 2)
    return Grid(
        steps=steps,
        stale_begin_steps=(1, *range(first, steps - 1, width), steps - 1),
        merge_steps=merges,
        following_steps=merges[1:] if sampler in SECOND_ORDER_SAMPLERS else (),
        unequal_begin_steps=(1, *range(first, steps - 3, width), steps - 2),
    )


def reference_plan(steps: int, rows: int) -> Plan:
    """One device alone, with a boundary after every step, from which probes can go on."""
    return _plan([_whole(0, steps, rows, beat_steps=1)], steps)


def stale_probes(grid: Grid, rows: int) -> tuple[Plan, ...]:
    """One plan a window of stale activations."""
    return tuple(_stale_plan(grid, begin, end, rows) for begin, end in grid.stale_windows)


def unequal_probes(grid: Grid, rows: int) -> tuple[Plan, ...]:
    """One plan a window of unequal strides: the lower half at stride 2; a last odd step is left out."""
    return tuple(_stale_plan(grid, begin, end, rows, (1, 2)) for begin, end in grid.unequal_windows)


def merge_probes(grid: Grid, rows: int) -> tuple[Plan, ...]:
    """One plan of one device for each of the grid's ``jump_steps``."""
    return tuple(_merge_plan(grid.steps, steps, rows) for steps in grid.jump_steps)


HALVES, THIRDS, QUARTERS, UNEVEN, ALONE = (1, 1), (1, 1, 1), (1, 1, 1, 1), (3, 1), (1,)
"""Parts of the picture that members hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """Many disturbances at once, as plans hold them.

    Attributes:
        for_all: whether every picture is measured by it, or those that are measured in full.
        parts: of the picture, a member each; one part for one device.
        strides: a member each.
        merges: first step of each jump that a member of stride 2 makes, ascending.
    """

    for_all: bool
    parts: tuple[int, ...]
    strides: tuple[int, ...]
    merges: tuple[int, ...]

    @property
    def stale(self) -> bool:
        """Whether members read each other's old activations."""
        return len(self.parts) > 1


def joints(grid: Grid, *, members: int = MEMBERS_MAX) -> tuple[Joint, ...]:
    """What plans are made of: gangs at equal and at unequal strides, and fewer steps on one device.

    Two to four members after the first window: at full rate, with the first at full rate and the others at stride 2,
    half and half, and with a fast member that holds most rows; one device with merged steps in the second half of the
    grid, in the middle, among the early steps, and everywhere: uniformly half the steps.

    Of every kind of disturbance one probe that holds much of it is measured on every picture: pictures differ in a
    single early jump by 10 dB and more, so that the few which are measured in full do not say what is typical, and
    among the jumps of the whole grid it is lost.

    Args:
        grid: of the picture.
        members: so many at most.
    """
    begin, steps = grid.stale_begin_steps[1], grid.steps
    middle = steps // 2
    body = tuple(range(begin, steps - 1, 2))
    gangs = (
        (True, HALVES, (1, 1)),
        (True, HALVES, (1, 2)),
        (True, QUARTERS, (1, 1, 1, 1)),
        (True, QUARTERS, (1, 1, 2, 2)),
        (False, UNEVEN, (1, 2)),
        (False, THIRDS, (1, 2, 2)),
    )
    runs = (
        (False, range(middle, steps - 1, 2)),
        (True, range(begin, steps - 1 - middle // 2, 2)),
        (True, (step for step in range(0, steps - 1, 2) if kind_of_jump(step, steps) == EARLY_JUMP)),
        (True, range(0, steps - 1, 2)),
    )
    found = [Joint(for_all=every, parts=parts, strides=strides, merges=body) for every, parts, strides in gangs]
    found += [Joint(for_all=every, parts=ALONE, strides=(2,), merges=tuple(run)) for every, run in runs]
    return tuple(joint for joint in found if len(joint.parts) <= members)


def counts_of(parts: Sequence[int], rows: int) -> tuple[int, ...]:
    """Row units of each part, the first ones larger where they do not come out even."""
    ends = [-(-sum(parts[: index + 1]) * rows // sum(parts)) for index in range(len(parts))]
    return tuple(end - begin for begin, end in pairwise((0, *ends)))


def joint_probe(joint: Joint, grid: Grid, rows: int) -> Plan:
    """Its plan."""
    if not joint.stale:
        return _merge_plan(grid.steps, joint.merges, rows)
    begin = grid.stale_begin_steps[1]
    return _gang_plan(grid, begin, grid.steps, counts_of(joint.parts, rows), joint.strides)


def _stale_plan(grid: Grid, begin: int, end: int, rows: int, strides: tuple[int, int] = (1, 1)) -> Plan:
    return _gang_plan(grid, begin, end, counts_of(HALVES, rows), strides)


def _gang_plan(grid: Grid, begin: int, end: int, counts: tuple[int, ...], strides: tuple[int, ...]) -> Plan:
    interval = max(strides)
    end -= (end - begin) % interval
    segments = [
        _segment(begin - 1, begin, counts, Exchange.SYNCHRONOUS, strides=(1,) * len(counts), beat_steps=1),
        _segment(begin, end, counts, Exchange.DISPLACED, strides=strides, beat_steps=interval),
    ]
    if end < grid.steps:
        segments.append(_whole(end, grid.steps, sum(counts)))
    return _plan(segments, grid.steps)


def _merge_plan(steps: int, merges: Sequence[int], rows: int) -> Plan:
    segments: list[Segment] = []
    step = merges[0]
    for begin in merges:
        if begin > step:
            segments.append(_whole(step, begin, rows))
        segments.append(_segment(begin, begin + 2, (rows,), Exchange.DISPLACED, strides=(2,), beat_steps=2))
        step = begin + 2
    if step < steps:
        segments.append(_whole(step, steps, rows))
    return _plan(segments, steps)


def _whole(begin: int, end: int, rows: int, *, beat_steps: int = 4) -> Segment:
    return _segment(begin, end, (rows,), Exchange.SYNCHRONOUS, strides=(1,), beat_steps=beat_steps)


def _segment(
    begin: int, end: int, counts: tuple[int, ...], exchange: Exchange, *, strides: tuple[int, ...], beat_steps: int
) -> Segment:
    return Segment(
        begin_step=begin,
        end_step=end,
        beat_steps=beat_steps,
        exchange=exchange,
        assignments=tuple(
            Assignment(agent=agent, rows=rows, stride=stride)
            for agent, rows, stride in zip(MEMBERS, ranges_from_counts(counts), strides, strict=False)
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
