"""What no plan may be: rows that do not partition the image, segments that do not meet, members that change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.rows import RowRange, is_partition, ranges_from_counts
from tests.values.plans import plan, segment

DISPLACED = Exchange.DISPLACED


def ranges(*bounds: tuple[int, int]) -> tuple[RowRange, ...]:
    return tuple(RowRange(begin=begin, end=end) for begin, end in bounds)


def held(*bounds: tuple[int, int]) -> Segment:
    """A segment whose members hold these rows."""
    return Segment(
        begin_step=0,
        end_step=2,
        beat_steps=2,
        exchange=Exchange.SYNCHRONOUS,
        assignments=tuple(
            Assignment(agent=AgentId(f"agent-{index}"), rows=rows) for index, rows in enumerate(ranges(*bounds))
        ),
    )


@pytest.mark.parametrize(
    ("bounds", "partitions"),
    [
        ([(0, 3), (3, 8)], True),
        ([(3, 8), (0, 3)], True),
        ([(0, 3), (8, 8), (3, 8), (0, 0)], True),
        ([(0, 3), (2, 8)], False),
        ([(0, 3), (4, 8)], False),
        ([(0, 8), (0, 8)], False),
        ([(1, 8)], False),
        ([(0, 7)], False),
        ([(0, 9)], False),
        ([], False),
    ],
)
def test_a_partition_holds_every_row_once(bounds: list[tuple[int, int]], partitions: bool) -> None:
    assert is_partition(ranges(*bounds), 8) is partitions


def test_counts_become_ranges_from_the_top() -> None:
    assert ranges_from_counts((3, 0, 5)) == ranges((0, 3), (3, 3), (3, 8))


@pytest.mark.parametrize("bounds", [[(0, 5), (4, 8)], [(0, 3), (4, 8)], [(1, 4), (4, 8)], [(0, 8), (2, 4)]])
def test_rows_that_do_not_partition_the_image_are_refused(bounds: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="rows do not partition the image"):
        held(*bounds)


@pytest.mark.parametrize("bounds", [(-1, 2), (3, 2)])
def test_a_range_that_runs_backwards_is_refused(bounds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="0 <= begin <= end"):
        ranges(bounds)


def test_a_segment_is_whole_intervals_of_its_strides() -> None:
    with pytest.raises(ValueError, match="stride 1 everywhere"):
        segment(0, 4, (4, 4), strides=(1, 2))
    with pytest.raises(ValueError, match="multiples of the interval 2"):
        segment(0, 3, (4, 4), exchange=DISPLACED, strides=(1, 2))
    with pytest.raises(ValueError, match="multiples of the interval 2"):
        segment(0, 4, (4, 4), exchange=DISPLACED, strides=(1, 2), beat_steps=3)
    with pytest.raises(ValueError, match="names an agent twice"):
        replace(held((0, 8)), assignments=held((0, 8)).assignments * 2)


def test_segments_of_a_plan_meet_and_have_the_same_members_and_rows() -> None:
    warm_up = segment(0, 2, (4, 4))
    with pytest.raises(ValueError, match="segment begins at 3, expected 2"):
        plan(warm_up, segment(3, 4, (4, 4)))
    with pytest.raises(ValueError, match="members differ"):
        plan(warm_up, segment(2, 4, (4, 2, 2)))
    with pytest.raises(ValueError, match="image height differs"):
        plan(warm_up, segment(2, 4, (4, 5)))
    with pytest.raises(ValueError, match="must be synchronous"):
        plan(segment(0, 2, (4, 4), exchange=DISPLACED))
    plan(segment(0, 2, (0, 8), exchange=DISPLACED, strides=(1, 2)))  # nobody reads what another one computed


def test_a_plan_ends_with_its_image_and_names_members() -> None:
    whole: Plan = plan(segment(0, 2, (4, 4)), segment(2, 4, (8, 0), exchange=DISPLACED))
    with pytest.raises(ValueError, match="plan ends at step 4, the image has 6"):
        replace(whole, steps=6)
    with pytest.raises(ValueError, match="decoder stranger is no member"):
        replace(whole, decoder=AgentId("stranger"))
    with pytest.raises(ValueError, match="version must be at least 1"):
        replace(whole, version=0)


def test_active_steps_are_the_strides_of_a_beat_and_none_without_rows() -> None:
    body = segment(2, 8, (5, 3, 0), exchange=DISPLACED, strides=(1, 2, 1), beat_steps=4)
    first, second = body.beats()
    assert [first.active_steps(agent) for agent in body.agents] == [(2, 3, 4, 5), (2, 4), ()]
    assert [second.active_steps(agent) for agent in body.agents] == [(6, 7), (6,), ()]
