"""Which beat follows which boundary, across versions and segments that come late; agents and simulator ask the same."""

from __future__ import annotations

import pytest

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Assignment, Exchange, Segment
from polyrhythm.plan.plan_versions import MISSING, PlanVersions
from polyrhythm.plan.rows import RowRange


def segment(begin: int, end: int, beat: int) -> Segment:
    return Segment(
        begin_step=begin,
        end_step=end,
        beat_steps=beat,
        exchange=Exchange.SYNCHRONOUS,
        assignments=(Assignment(agent=AgentId("a"), rows=RowRange(begin=0, end=4)),),
    )


def test_beats_follow_one_another_to_the_end() -> None:
    plans = PlanVersions().extended(1, (segment(0, 3, 2), segment(3, 5, 2)), complete=True)
    step, begins = 0, []
    while (beat := plans.beat_at(step, version=1, current_version=1)[0]) is not None:
        assert beat is not MISSING
        begins.append((beat.begin_step, beat.end_step))
        step = beat.end_step
    assert begins == [(0, 2), (2, 3), (3, 5)]


def test_a_newer_version_takes_over_at_its_first_step_or_never() -> None:
    plans = PlanVersions().extended(1, (segment(0, 8, 2),), complete=True)
    plans = plans.extended(2, (segment(4, 8, 2),), complete=True)
    assert plans.newest == 2
    found = [plans.beat_at(step, version=2, current_version=1) for step in (2, 4, 6)]
    assert [version for _, version in found] == [1, 2, 1]
    old, new = tuple(segment(0, 8, 2).beats()), tuple(segment(4, 8, 2).beats())
    assert [beat for beat, _ in found] == [old[1], new[0], old[3]]


def test_a_segment_that_has_not_come_is_missing() -> None:
    plans = PlanVersions().extended(1, (segment(0, 4, 2),), complete=False)
    assert plans.beat_at(4, version=1, current_version=1) == (MISSING, 1)
    plans = plans.extended(1, (segment(4, 12, 2),), complete=True)
    assert plans.beat_at(4, version=1, current_version=1) == (next(segment(4, 12, 2).beats()), 1)
    assert plans.beat_at(12, version=1, current_version=1) == (None, 1)


def test_the_versions_that_were_held_before_stay_as_they_were() -> None:
    before = PlanVersions().extended(1, (segment(0, 4, 2),), complete=False)
    before.extended(1, (segment(4, 8, 2),), complete=True)
    assert before.beat_at(4, version=1, current_version=1) == (MISSING, 1)


def test_a_step_between_boundaries_is_refused() -> None:
    plans = PlanVersions().extended(1, (segment(0, 4, 2),), complete=True)
    with pytest.raises(ValueError, match="plan 1 has no boundary at step 3"):
        plans.beat_at(3, version=1, current_version=1)


def test_gaps_and_plans_without_segments_are_refused() -> None:
    plans = PlanVersions().extended(1, (segment(0, 2, 2),), complete=False)
    with pytest.raises(ValueError, match="begins at step 3, expected 2"):
        plans.extended(1, (segment(3, 5, 2),), complete=True)
    with pytest.raises(ValueError, match="without a segment"):
        plans.extended(2, (), complete=True)
