from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyrhythm.ids import AgentId
from polyrhythm.job.image import Quality
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm.plan.profile import Link
from polyrhythm_coordinator.scheduling.planning.plan_builder import (
    BEAT_STEPS_MAX,
    BEAT_STEPS_MIN,
    BOUNDARY_SHARE_MAX,
    GangPlans,
    beat_steps,
    equal_patches_plan,
    rows_and_strides_plan,
    rows_only_plan,
    solo_plan,
    strides_only_plan,
)
from polyrhythm_coordinator.scheduling.planning.quality_policy import policy_of
from tests.values.plan_requests import LOOPBACK, plan_request

BALANCED = policy_of(Quality.BALANCED)


def counts(plan: Plan) -> list[tuple[int, ...]]:
    return [tuple(a.rows.count for a in segment.assignments) for segment in plan.segments]


def strides(plan: Plan) -> list[tuple[int, ...]]:
    return [segment.strides for segment in plan.segments]


def test_one_device_runs_one_synchronous_segment() -> None:
    plan = solo_plan(plan_request([1.0, 0.5]), AgentId("gpu-1"))
    (segment,) = plan.segments
    assert segment.exchange is Exchange.SYNCHRONOUS
    assert (segment.begin_step, segment.end_step, segment.beat_steps) == (0, 50, BEAT_STEPS_MIN)
    assert (plan.agents, plan.encoder, plan.decoder) == (("gpu-1",), "gpu-1", "gpu-1")


def test_equal_patches_ignore_speed_and_quality() -> None:
    plan = equal_patches_plan(plan_request([1.0, 0.5], quality=Quality.EXACT))
    assert [(s.begin_step, s.end_step, s.exchange) for s in plan.segments] == [
        (0, 4, Exchange.SYNCHRONOUS),
        (4, 50, Exchange.DISPLACED),
    ]
    assert counts(plan) == [(8, 8), (8, 8)]


def test_rows_only_follow_speed_at_full_rate() -> None:
    plan = rows_only_plan(plan_request([1.0, 0.4]))
    assert counts(plan) == [(12, 4), (12, 4)]
    assert strides(plan) == [(1, 1), (1, 1)]


def test_strides_only_keep_equal_rows() -> None:
    plan = strides_only_plan(plan_request([1.0, 0.4]), (1, 2), policy=BALANCED)
    assert counts(plan) == [(8, 8)] * 3
    assert strides(plan) == [(1, 1), (1, 2), (1, 1)]


def test_rows_are_chosen_for_each_segment() -> None:
    plan = rows_and_strides_plan(plan_request([1.0, 0.4]), (1, 2), policy=BALANCED)
    assert counts(plan) == [(12, 4), (9, 7), (12, 4)]
    assert strides(plan) == [(1, 1), (1, 2), (1, 1)]


def test_exposed_messages_move_rows_of_a_synchronous_segment_only() -> None:
    plan = rows_only_plan(plan_request([1.0, 0.7], whole_s=0.03, link=LOOPBACK))
    assert counts(plan) == [(11, 5), (10, 6)]


def test_a_slow_wire_leaves_the_synchronous_steps_to_the_fastest() -> None:
    plan = rows_only_plan(plan_request([1.0, 0.7], link=Link(latency_s=0.1, bytes_per_s=1e8)))
    assert counts(plan) == [(16, 0), (10, 6)]


def test_rows_at_a_reduced_rate_are_capped() -> None:
    plan = rows_and_strides_plan(plan_request([1.0, 0.9]), (1, 2), policy=BALANCED)
    assert counts(plan)[1] == (8, 8)
    freer = rows_and_strides_plan(plan_request([1.0, 0.9]), (1, 2), policy=policy_of(Quality.FAST))
    assert counts(freer)[1] == (6, 10)


def test_beats_are_multiples_of_the_strides() -> None:
    policy = replace(BALANCED, strides=(1, 2, 8))
    plan = rows_and_strides_plan(plan_request([1.0, 0.2]), (1, 8), policy=policy)
    assert [segment.beat_steps for segment in plan.segments] == [2, 8, 2]


@given(interval=st.sampled_from([1, 2, 3, 4, 8]), step_s=st.floats(1e-3, 10.0), boundary_s=st.floats(0.0, 1.0))
def test_beats_are_as_short_as_their_boundary_is_cheap(interval: int, step_s: float, boundary_s: float) -> None:
    steps = beat_steps(interval, step_s, boundary_s)
    allowed = [n for n in range(BEAT_STEPS_MIN, BEAT_STEPS_MAX + interval) if n % interval == 0]
    cheap = [n for n in allowed if boundary_s <= BOUNDARY_SHARE_MAX * n * step_s]
    assert steps == min(cheap, default=max(allowed))


def test_a_slow_boundary_makes_beats_longer() -> None:
    near = rows_only_plan(plan_request([1.0, 0.4]))
    far = rows_only_plan(plan_request([1.0, 0.4], link=Link(latency_s=0.1, bytes_per_s=1e8)))
    assert [segment.beat_steps for segment in (*near.segments, *far.segments)] == [2, 2, 4, 4]


def test_everybody_at_a_reduced_rate_is_refused() -> None:
    plans = GangPlans(plan_request([1.0, 0.5]), (AgentId("gpu-0"), AgentId("gpu-1")), policy=BALANCED)
    with pytest.raises(ValueError, match="all agents are reduced"):
        plans.plan((2, 2))


def test_a_resumed_plan_starts_at_its_boundary() -> None:
    request = replace(plan_request([1.0, 0.5]), begin_step=20, version=3)
    plan = rows_and_strides_plan(request, (1, 2), policy=BALANCED)
    assert (plan.version, plan.begin_step, plan.steps) == (3, 20, 50)
    assert [(s.begin_step, s.end_step) for s in plan.segments] == [(20, 21), (21, 45), (45, 50)]
