"""The ideal latency cuts of step allocation and elastic patches, reproduced with the planner's own cost functions.

Two agents, 50 steps, 4 warm-up and 4 tail steps, 16 rows, stride 2 for the slower one, no communication, no fixed cost.
All rows are tried for each segment; the planner must find the same.
"""

from __future__ import annotations

import pytest

from polyrhythm.job.image import Quality
from polyrhythm.plan.plan import Assignment, Plan, Segment
from polyrhythm.plan.rows import ranges_from_counts
from polyrhythm_coordinator.scheduling.planning.cost_model import GangCost, predict
from polyrhythm_coordinator.scheduling.planning.plan_builder import (
    equal_patches_plan,
    rows_and_strides_plan,
    rows_only_plan,
    solo_plan,
)
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.quality_policy import policy_of
from polyrhythm_coordinator.scheduling.planning.search import search_plan
from tests.values.plan_requests import plan_request

ROWS = 16
SPLITS = [(rows, ROWS - rows) for rows in range(ROWS + 1)]


def strided(request: PlanRequest) -> Plan:
    return rows_and_strides_plan(request, (1, 2), policy=policy_of(Quality.BALANCED))


def resplit(segment: Segment, counts: tuple[int, int]) -> Segment:
    return Segment(
        begin_step=segment.begin_step,
        end_step=segment.end_step,
        beat_steps=segment.beat_steps,
        exchange=segment.exchange,
        assignments=tuple(
            Assignment(agent=a.agent, rows=rows, stride=a.stride)
            for a, rows in zip(segment.assignments, ranges_from_counts(counts), strict=True)
        ),
    )


def cut_against_equal_patches(request: PlanRequest, seconds: float) -> float:
    return 100 * (1 - seconds / predict(equal_patches_plan(request), request).denoise_s)


@pytest.mark.parametrize(("slow", "percent"), [(0.5, 47.0), (0.4, 52.6)])
def test_rows_per_segment(slow: float, percent: float) -> None:
    request = plan_request([1.0, slow])
    cost = GangCost(request=request, agents=request.agents)
    plan = strided(request)
    ideal_s = sum(min(cost.segment_s(resplit(segment, split)) for split in SPLITS) for segment in plan.segments)
    assert cut_against_equal_patches(request, ideal_s) == pytest.approx(percent, abs=0.05)
    assert cost.denoise_s(plan) == pytest.approx(ideal_s)
    assert search_plan(request).chosen.plan == plan


@pytest.mark.parametrize(("slow", "percent"), [(0.5, 42.0), (0.4, 48.2)])
def test_one_set_of_rows(slow: float, percent: float) -> None:
    request = plan_request([1.0, slow])
    cost = GangCost(request=request, agents=request.agents)
    segments = strided(request).segments
    ideal_s = min(sum(cost.segment_s(resplit(segment, split)) for segment in segments) for split in SPLITS)
    assert cut_against_equal_patches(request, ideal_s) == pytest.approx(percent, abs=0.05)


@pytest.mark.parametrize(
    ("slow", "solo", "equal", "rows_only"), [(0.8, 50, 31.25, 28.125), (0.5, 50, 50, 34.375), (0.4, 50, 62.5, 37.5)]
)
def test_what_it_is_compared_with(slow: float, solo: float, equal: float, rows_only: float) -> None:
    """Seconds in forwards of the fast device over the whole picture."""
    request = plan_request([1.0, slow])
    found = (solo_plan(request, request.agents[0]), equal_patches_plan(request), rows_only_plan(request))
    assert [predict(plan, request).denoise_s for plan in found] == pytest.approx([solo, equal, rows_only])
