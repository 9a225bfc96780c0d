from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import NoAgentsError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import Objective, Quality
from polyrhythm.plan.explanation import ExclusionReason
from polyrhythm.plan.plan import Exchange
from polyrhythm.plan.profile import Link
from polyrhythm_coordinator.scheduling.planning.cost_model import predict
from polyrhythm_coordinator.scheduling.planning.explanation import RUNNERS_UP_MAX
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.search import search_plan
from tests.values.plan_requests import FACTS, LOOPBACK, image, plan_request, profile


def labels(speeds: list[float], **kwargs: object) -> list[str]:
    explanation = search_plan(plan_request(speeds, **kwargs))  # type: ignore[arg-type]
    return [explanation.chosen.label, *(candidate.label for candidate in explanation.runners_up)]


def test_one_candidate_works_alone() -> None:
    explanation = search_plan(plan_request([1.0]))
    assert explanation.chosen.label == "solo gpu-0"
    assert (explanation.runners_up, explanation.exclusions) == ((), ())


def test_candidates_are_of_different_kinds_in_order_of_time() -> None:
    assert labels([1.0, 0.5]) == ["2 agents, strides 1 and 2", "2 agents, rows only", "solo gpu-0"]
    assert labels([1.0, 0.5], quality=Quality.HIGH) == ["2 agents, rows only", "solo gpu-0"]
    assert labels([1.0, 0.5], quality=Quality.EXACT) == ["2 agents, synchronous", "solo gpu-0"]


@pytest.mark.parametrize("quality", [Quality.BALANCED, Quality.FAST])
def test_a_sampler_that_makes_every_step_gets_no_strides_in_any_candidate(quality: Quality) -> None:
    strided = plan_request([1.0, 0.5, 0.3], quality=quality)
    full_rate = replace(strided, facts=replace(FACTS, full_rate_samplers=(strided.image.sampler,)))
    assert 2 in _strides(strided)
    assert _strides(full_rate) == {1}
    assert len(search_plan(full_rate).chosen.plan.agents) > 1


def _strides(request: PlanRequest) -> set[int]:
    explanation = search_plan(request)
    return {
        assignment.stride
        for candidate in (explanation.chosen, *explanation.runners_up)
        for segment in candidate.plan.segments
        for assignment in segment.assignments
    }


def test_the_fastest_device_alone_is_always_shown() -> None:
    shown = labels([1.0, 1.0, 1.0, 1.0])
    assert len(shown) == 1 + RUNNERS_UP_MAX
    assert "solo gpu-0" in shown


def test_every_prediction_is_the_one_of_its_plan() -> None:
    request = plan_request([1.0, 0.7, 0.4], link=LOOPBACK)
    explanation = search_plan(request)
    for candidate in (explanation.chosen, *explanation.runners_up):
        assert candidate.prediction == predict(candidate.plan, request)


def test_a_device_that_gets_no_rows_is_left_out_with_the_reason_in_numbers() -> None:
    explanation = search_plan(plan_request([1.0, 0.02]))
    assert explanation.chosen.label == "solo gpu-0"
    (exclusion,) = explanation.exclusions
    assert (exclusion.agent, exclusion.reason) == ("gpu-1", ExclusionReason.TOO_SLOW)
    assert exclusion.message == (
        "no gang gives it rows: with one row on it a step takes 3.125 s (computing 3.125 s), "
        "a step of the chosen plan 1.000 s"
    )


def test_a_device_that_holds_the_others_up_is_left_out_with_both_times() -> None:
    # Four synchronous steps over this wire cost more than the second device saves later.
    explanation = search_plan(plan_request([1.0, 0.1], steps=5, link=Link(latency_s=0.05, bytes_per_s=1e9)))
    assert explanation.chosen.label == "solo gpu-0"
    (exclusion,) = explanation.exclusions
    with_it_s = explanation.runners_up[0].prediction.total_s
    assert with_it_s > 5
    assert exclusion.message == f"the fastest gang with it takes {with_it_s:.3f} s, the chosen plan without it 5.000 s"


def test_a_device_that_changes_next_to_nothing_is_left_out_with_one_time() -> None:
    (exclusion,) = search_plan(plan_request([1.0, 0.0025], rows=400)).exclusions
    assert exclusion.message == "it would not make the picture sooner ready: 50 s with it or without it"


def test_a_gain_below_what_a_prediction_is_worth_does_not_buy_a_second_device() -> None:
    # one of 400 rows fits the second device: a quarter of a percent
    assert labels([1.0, 0.0025], rows=400)[0] == "solo gpu-0"
    assert labels([1.0, 0.02], rows=400)[0] != "solo gpu-0"


def test_equal_times_prefer_full_rate() -> None:
    explanation = search_plan(plan_request([1.0, 1.0]))
    assert explanation.chosen.label == "2 agents, rows only"


@pytest.mark.parametrize("quality", Quality)
@pytest.mark.parametrize("steps", range(1, 12))
def test_short_jobs_are_planned(quality: Quality, steps: int) -> None:
    explanation = search_plan(plan_request([1.0, 0.5], quality=quality, steps=steps))
    assert explanation.chosen.plan.steps == steps
    assert len(explanation.chosen.plan.agents) == 2


@pytest.mark.parametrize("begin_step", [1, 3, 46, 48, 49])
def test_the_rest_of_a_job_starts_with_a_synchronous_step(begin_step: int) -> None:
    plan = search_plan(replace(plan_request([1.0, 0.5, 0.5]), begin_step=begin_step)).chosen.plan
    assert plan.begin_step == begin_step
    assert plan.segments[0].exchange is Exchange.SYNCHRONOUS


def test_the_fastest_encoder_and_decoder_of_the_gang_are_used() -> None:
    picture = image()
    request = replace(
        plan_request([1.0, 0.5]),
        profiles=(
            profile("gpu-0", picture, whole_s=1.0, encode_s=1.0, decode_s=2.0),
            profile("gpu-1", picture, whole_s=2.0, encode_s=2.0, decode_s=1.0),
        ),
    )
    plan = search_plan(request).chosen.plan
    assert (plan.encoder, plan.decoder) == ("gpu-0", "gpu-1")


def test_many_agents_are_planned_by_speed() -> None:
    speeds = [0.4, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.01]
    explanation = search_plan(plan_request(speeds, rows=64))
    assert explanation.chosen.plan.agents == tuple(AgentId(f"gpu-{index}") for index in range(7))
    assert [exclusion.agent for exclusion in explanation.exclusions] == ["gpu-7"]


def test_agents_that_never_end_are_no_candidates() -> None:
    endless = replace(plan_request([1.0]).profiles[0], per_row_s=1e308)
    with pytest.raises(NoAgentsError, match="gpu-0 inf s"):
        search_plan(replace(plan_request([1.0]), profiles=(endless,)))


def test_the_same_request_gives_the_same_answer() -> None:
    request = plan_request([1.0, 0.8, 0.8, 0.3], link=LOOPBACK)
    assert search_plan(request) == search_plan(request)
    assert FACTS.row_count(request.image.height_px) == 16


def test_for_throughput_single_devices_alone_are_compared() -> None:
    request = plan_request([1.0, 0.9], quality=Quality.EXACT)
    wanted = replace(request, image=replace(request.image, objective=Objective.THROUGHPUT))
    assert search_plan(request).chosen.plan.agents == ("gpu-0", "gpu-1")
    explanation = search_plan(wanted)
    assert explanation.chosen.plan.agents == ("gpu-0",)
    assert all(len(other.plan.agents) == 1 for other in explanation.runners_up)
