"""The cost model's closed form against a simulated clock that runs every layer and every message."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrhythm.job.image import Quality
from polyrhythm.plan.profile import Link
from polyrhythm_coordinator.scheduling.planning.cost_model import predict
from polyrhythm_coordinator.scheduling.planning.plan_builder import GangPlans
from polyrhythm_coordinator.scheduling.planning.quality_policy import policy_of
from polyrhythm_coordinator.scheduling.planning.strides import stride_assignments
from tests.property import layer_clock
from tests.values.plan_requests import NO_COST, plan_request

speeds_of_gangs = st.lists(st.floats(0.2, 1.0), min_size=2, max_size=4)


def prediction_error(
    speeds: list[float], quality: Quality, link: Link, steps: int, fixed_share: float, pick: int
) -> float:
    """Predicted over simulated seconds, less one, for one of the stride assignments that the policy allows."""
    request = plan_request(speeds, quality=quality, link=link, steps=steps, fixed_share=fixed_share, whole_s=0.2)
    policy = policy_of(quality)
    choices = list(stride_assignments([1 / value for value in speeds], policy.strides))
    plan = GangPlans(request, request.agents, policy=policy).plan(choices[pick % len(choices)])
    return predict(plan, request).denoise_s / layer_clock.denoise_s(plan, request) - 1


@settings(max_examples=50)
@given(speeds_of_gangs, st.sampled_from(Quality), st.integers(1, 24), st.floats(0, 0.3), st.integers(0, 7))
def test_nobody_waits_for_a_version_where_messages_cost_nothing(
    speeds: list[float], quality: Quality, steps: int, fixed_share: float, pick: int
) -> None:
    assert prediction_error(speeds, quality, NO_COST, steps, fixed_share, pick) == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=50)
@given(
    speeds_of_gangs,
    st.sampled_from([Quality.HIGH, Quality.BALANCED, Quality.FAST]),
    st.builds(Link, latency_s=st.floats(0, 0.5e-3), bytes_per_s=st.floats(1e9, 1e10)),
    st.integers(20, 50),
    st.integers(0, 7),
)
def test_displaced_plans_are_predicted_within_two_percent(
    speeds: list[float], quality: Quality, link: Link, steps: int, pick: int
) -> None:
    assert abs(prediction_error(speeds, quality, link, steps, 0.06, pick)) < 0.02


@settings(max_examples=50)
@given(
    speeds_of_gangs,
    st.builds(Link, latency_s=st.floats(0, 0.5e-3), bytes_per_s=st.floats(1e9, 1e10)),
    st.integers(4, 12),
)
def test_synchronous_plans_are_predicted_within_five_percent_and_hardly_too_low(
    speeds: list[float], link: Link, steps: int
) -> None:
    assert -0.01 < prediction_error(speeds, Quality.EXACT, link, steps, 0.06, 0) < 0.05
