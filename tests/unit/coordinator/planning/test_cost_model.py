from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import InvalidArgumentError, NotFoundError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import Quality
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm.plan.profile import Link
from polyrhythm_coordinator.scheduling.planning.cost_model import GangCost, predict
from polyrhythm_coordinator.scheduling.planning.plan_builder import rows_and_strides_plan, rows_only_plan, solo_plan
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.quality_policy import policy_of
from tests.values.plan_requests import FACTS, LOOPBACK, NO_COST, image, plan_request, profile

VERSION_BYTES_A_ROW = 16 * 2 * 8 * 256 * 4 * 2
"""16 tokens, key and value, 8 layers, 256 wide, fp32, both guidance halves."""


def step_s(
    request: PlanRequest, exchange: Exchange, counts: tuple[int, ...], strides: tuple[int, ...] | None = None
) -> float:
    cost = GangCost(request=request, agents=request.agents)
    return cost.step_s(counts, strides or (1,) * len(counts), exchange)


def test_a_step_takes_as_long_as_its_slowest_agent() -> None:
    request = plan_request([1.0, 0.5], fixed_share=0.2)
    expected_s = 2 * (0.2 + 0.8 * 5 / 16)
    assert step_s(request, Exchange.SYNCHRONOUS, (11, 5)) == pytest.approx(expected_s)
    assert step_s(request, Exchange.DISPLACED, (11, 5)) == pytest.approx(expected_s)


def test_a_stride_halves_what_an_agent_costs_a_fine_step() -> None:
    request = plan_request([1.0, 0.5])
    assert step_s(request, Exchange.DISPLACED, (8, 8), (1, 2)) == pytest.approx(0.5)


def test_messages_of_a_synchronous_step_are_not_hidden() -> None:
    request = plan_request([1.0, 1.0], link=LOOPBACK)
    message_s = 8 * VERSION_BYTES_A_ROW / LOOPBACK.bytes_per_s + FACTS.layers * LOOPBACK.latency_s
    assert step_s(request, Exchange.SYNCHRONOUS, (8, 8)) == pytest.approx(0.5 + message_s)


def test_the_slowest_agent_alone_does_not_wait_for_its_own_messages() -> None:
    request = plan_request([1.0, 1.0], link=LOOPBACK)
    assert step_s(request, Exchange.SYNCHRONOUS, (15, 1)) == pytest.approx(15 / 16)


def test_messages_that_a_device_handles_itself_take_its_time_in_displaced_steps_only() -> None:
    link = replace(NO_COST, handling_s=1e-3, handling_s_per_byte=1e-8)
    request = plan_request([1.0, 0.5], link=link)
    assert step_s(request, Exchange.SYNCHRONOUS, (11, 5)) == pytest.approx(11 / 16)
    lost_s = 2 * FACTS.layers * 1e-3 + 16 * VERSION_BYTES_A_ROW * 1e-8
    assert step_s(request, Exchange.DISPLACED, (11, 5)) == pytest.approx(11 / 16 + lost_s)
    assert step_s(request, Exchange.DISPLACED, (9, 7), (1, 2)) == pytest.approx(9 / 16 + lost_s / 2)
    assert step_s(request, Exchange.DISPLACED, (16, 0)) == pytest.approx(1.0)


def test_messages_of_a_displaced_step_are_hidden_unless_the_wire_is_slower_than_the_work() -> None:
    assert step_s(plan_request([1.0, 1.0], link=LOOPBACK), Exchange.DISPLACED, (8, 8)) == pytest.approx(0.5)
    narrow = Link(latency_s=0.0, bytes_per_s=4e6)
    wire_s = 8 * VERSION_BYTES_A_ROW / 4e6
    request = plan_request([1.0, 1.0], link=narrow)
    assert step_s(request, Exchange.DISPLACED, (8, 8)) == pytest.approx(wire_s)
    assert step_s(request, Exchange.DISPLACED, (8, 8), (1, 2)) == pytest.approx(wire_s / 2)


def test_one_who_has_no_rows_costs_no_messages() -> None:
    request = plan_request([1.0, 1.0], link=LOOPBACK)
    assert step_s(request, Exchange.SYNCHRONOUS, (16, 0)) == pytest.approx(1.0)


def test_boundaries_cost_the_state_and_the_record() -> None:
    request = plan_request([1.0, 1.0], steps=10, link=LOOPBACK)
    segment = rows_only_plan(request).segments[1]
    cost = GangCost(request=request, agents=request.agents)
    boundary_s = 2 * LOOPBACK.latency_s + 8 * 16 * 64 * 2 / LOOPBACK.bytes_per_s
    assert cost.boundary_s(segment) == pytest.approx(boundary_s)
    assert (segment.step_count, segment.beat_steps) == (6, 2)
    assert cost.segment_s(segment) == pytest.approx(6 * 0.5 + 3 * boundary_s)


def test_one_device_pays_for_its_forwards_only() -> None:
    prediction = predict(solo_plan(plan_request([1.0, 0.5], link=LOOPBACK), AgentId("gpu-1")), plan_request([1.0, 0.5]))
    assert prediction.denoise_s == pytest.approx(100.0)
    (agent,) = prediction.agents
    assert (agent.busy_s, agent.wait_s, agent.sent_bytes) == (pytest.approx(100.0), pytest.approx(0.0), 0)


def test_busy_and_wait_add_up_to_the_wall_time() -> None:
    request = plan_request([1.0, 0.4], fixed_share=0.05, link=LOOPBACK)
    prediction = predict(rows_and_strides_plan(request, (1, 2), policy=policy_of(Quality.BALANCED)), request)
    for agent in prediction.agents:
        assert agent.busy_s + agent.wait_s == pytest.approx(prediction.denoise_s)
        assert agent.wait_s >= 0
    # 8 steps at full rate with 12 of 16 rows, 42 with 9
    assert prediction.agents[0].busy_s == pytest.approx(0.05 * 50 + 0.95 * (8 * 12 + 42 * 9) / 16)


def test_encoding_and_decoding_count_where_they_happen_and_not_again_after_a_resume() -> None:
    picture = image()
    request = PlanRequest(
        image=picture,
        facts=FACTS,
        profiles=(
            profile("gpu-0", picture, whole_s=1.0, encode_s=3.0, decode_s=5.0),
            profile("gpu-1", picture, whole_s=1.0, encode_s=2.0, decode_s=7.0),
        ),
    )
    prediction = predict(rows_only_plan(request), request)
    assert (prediction.encode_s, prediction.decode_s) == (2.0, 5.0)
    resumed = replace(request, begin_step=10)
    assert predict(rows_only_plan(resumed), resumed).encode_s == 0.0


def test_a_replayed_plan_must_fit_the_picture_and_the_fleet() -> None:
    request = plan_request([1.0, 0.5])
    plan: Plan = rows_only_plan(request)
    with pytest.raises(NotFoundError, match="gpu-1"):
        predict(plan, plan_request([1.0]))
    with pytest.raises(InvalidArgumentError, match="plan: is for 16 row units, the image has 24"):
        predict(plan, plan_request([1.0, 0.5], rows=24))
    with pytest.raises(InvalidArgumentError, match="plan: is for 50 steps, the image has 20"):
        predict(plan, plan_request([1.0, 0.5], steps=20))
