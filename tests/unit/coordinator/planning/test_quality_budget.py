"""``balanced`` and ``fast`` on a calibrated model: the fastest plan whose predicted picture is good enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from polyrhythm.errors import NoAgentsError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import Overrides, Quality
from polyrhythm.model.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.plan.explanation import ExclusionReason
from polyrhythm.plan.gang_plan import steps_taken
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm_coordinator.scheduling.planning.distortion import distortion_of
from polyrhythm_coordinator.scheduling.planning.plan_builder import GangPlans, equal_patches_plan, resynchronised
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest, SearchEffort
from polyrhythm_coordinator.scheduling.planning.quality_policy import BALANCED_LOSS_DB, FAST_LOSS_DB, policy_of
from polyrhythm_coordinator.scheduling.planning.search import search_plan
from tests.values.calibrations import calibration
from tests.values.plan_requests import LOOPBACK, plan_request
from tests.values.plans import segment


def calibrated(speeds: Sequence[float], *, overrides: Overrides | None = None, **given: object) -> PlanRequest:
    request = plan_request(speeds, **given)  # type: ignore[arg-type]
    image = replace(request.image, overrides=overrides or Overrides())
    return replace(request, image=image, facts=replace(request.facts, calibrations=(calibration(),)))


def psnr_db(request: PlanRequest, plan: Plan) -> float:
    found = distortion_of(request)
    assert found is not None
    return found.plan_expected(plan).mean_db


@pytest.mark.parametrize("speeds", [[1.0, 1.0], [1.0, 0.5], [1.0, 0.8, 0.3], [1.0, 0.9, 0.6, 0.4, 0.3, 0.2, 0.1]])
@pytest.mark.parametrize(
    ("quality", "asked_db", "loss_db"),
    [
        (Quality.BALANCED, None, BALANCED_LOSS_DB),
        (Quality.FAST, None, FAST_LOSS_DB),
        (Quality.BALANCED, 2.5, 2.5),
        (Quality.FAST, 12.0, 12.0),
    ],
)
def test_the_plan_is_as_good_as_plain_displaced_parallelism_less_the_loss(
    speeds: list[float], quality: Quality, asked_db: float | None, loss_db: float
) -> None:
    request = calibrated(speeds, link=LOOPBACK, quality=quality, overrides=Overrides(loss_db=asked_db))
    chosen = search_plan(request).chosen
    assert chosen.prediction.psnr_db == pytest.approx(psnr_db(request, chosen.plan))
    assert psnr_db(request, chosen.plan) >= psnr_db(request, equal_patches_plan(request)) - loss_db - 1e-6


def test_a_larger_loss_buys_time() -> None:
    seconds = [
        search_plan(calibrated([1.0, 0.5], quality=Quality.FAST, overrides=Overrides(loss_db=loss_db))).chosen
        for loss_db in (0.5, 3.0, 20.0)
    ]
    times_s = [chosen.prediction.total_s for chosen in seconds]
    assert times_s[0] > times_s[1] > times_s[2]


def test_the_budget_counts_from_the_same_warm_up_whatever_the_plan_has() -> None:
    short, plain = (
        calibrated([1.0, 1.0], quality=Quality.FAST, overrides=Overrides(warmup_steps=steps)) for steps in (1, None)
    )
    floor_db = psnr_db(plain, equal_patches_plan(plain)) - FAST_LOSS_DB
    assert psnr_db(short, search_plan(short).chosen.plan) >= floor_db - 1e-6


def test_balanced_never_takes_a_step_away_from_the_fastest_member() -> None:
    for speeds in ([1.0], [1.0, 1.0], [1.0, 0.5], [0.2, 0.9, 0.4]):
        explanation = search_plan(calibrated(speeds))
        for candidate in (explanation.chosen, *explanation.runners_up):
            assert all(min(part.strides) == 1 for part in candidate.plan.segments)
            assert steps_taken((candidate.plan,)).fast_rows == 50


def test_where_the_fastest_member_would_be_better_without_rows_nobody_skips_steps() -> None:
    request = calibrated([1.0, 0.95], fixed_share=0.7)
    plans = GangPlans(request, request.agents, policy=replace(policy_of(Quality.FAST), reduced_share_max=1.0))
    assert [rows.count for rows in plans.rows(Exchange.DISPLACED, (1, 2))] == [0, 16]
    explanation = search_plan(request)
    for candidate in (explanation.chosen, *explanation.runners_up):
        assert steps_taken((candidate.plan,)).fast_rows == 50


def test_fast_merges_steps_for_everybody_where_that_is_cheapest() -> None:
    explanation = search_plan(calibrated([1.0, 1.0], quality=Quality.FAST))
    assert explanation.chosen.label.endswith(", merged steps")
    merged = [s for s in explanation.chosen.plan.segments if min(s.strides) == 2]
    assert merged
    assert any(s.end_step == 50 for s in merged)  # the made-up errors are largest at 0.35 of the grid
    labels = [candidate.label for candidate in explanation.runners_up]
    assert "2 agents, rows only" in labels
    assert all(candidate.prediction.psnr_db is not None for candidate in explanation.runners_up)


def test_one_device_alone_merges_steps_as_well_under_fast() -> None:
    chosen = search_plan(calibrated([1.0], quality=Quality.FAST)).chosen
    assert chosen.label == "solo gpu-0, merged steps"
    assert chosen.prediction.denoise_s < 50
    assert {s.exchange for s in chosen.plan.segments} == {Exchange.SYNCHRONOUS, Exchange.DISPLACED}


@pytest.mark.parametrize("quality", [Quality.EXACT, Quality.HIGH])
def test_other_qualities_keep_their_rule(quality: Quality) -> None:
    with_numbers = search_plan(calibrated([1.0, 0.5], quality=quality)).chosen
    without = search_plan(plan_request([1.0, 0.5], quality=quality)).chosen
    assert with_numbers.plan == without.plan
    assert (with_numbers.prediction.psnr_db is None, without.prediction.psnr_db) == (False, None)


def test_a_model_that_forgives_nothing_is_left_at_full_rate() -> None:
    request = calibrated([1.0, 0.5])
    products = tuple(np.diag([1e-9, 1.0, 1.0, 0.0, 0.0]).ravel().tolist())
    touchy = replace(
        calibration(),
        merge_steps=(0, 48),
        stale_begin_steps=(1,),
        following_steps=(2,),
        unequal_begin_steps=(1,),
        products=products,
    )
    chosen = search_plan(replace(request, facts=replace(request.facts, calibrations=(touchy,)))).chosen
    assert chosen.label == "2 agents, rows only"


def test_overrides_are_kept() -> None:
    plan = search_plan(calibrated([1.0, 0.5], overrides=Overrides(max_stride=1))).chosen.plan
    assert {stride for s in plan.segments for stride in s.strides} == {1}
    plan = search_plan(calibrated([1.0, 0.5], overrides=Overrides(warmup_steps=9, tail_steps=7))).chosen.plan
    assert (plan.segments[0].exchange, plan.segments[0].end_step) == (Exchange.SYNCHRONOUS, 9)
    assert all(max(s.strides) == 1 for s in plan.segments if s.end_step > 43)
    uncalibrated = plan_request([1.0, 0.5])
    image = replace(uncalibrated.image, overrides=Overrides(max_stride=1, warmup_steps=6))
    plan = search_plan(replace(uncalibrated, image=image)).chosen.plan
    assert [(s.begin_step, s.end_step, s.strides) for s in plan.segments] == [(0, 6, (1, 1)), (6, 50, (1, 1))]


def test_one_device_warms_up_where_the_user_says_so() -> None:
    chosen = search_plan(calibrated([1.0], quality=Quality.FAST, overrides=Overrides(warmup_steps=35))).chosen
    plan = chosen.plan
    assert all(max(s.strides) == 1 for s in plan.segments if s.begin_step < 35)
    assert plan.segments[0].end_step >= 35
    assert any(max(s.strides) == 2 for s in plan.segments)
    by_itself = search_plan(calibrated([1.0], quality=Quality.FAST)).chosen
    assert by_itself.plan.segments[0].end_step < 35
    assert chosen.prediction.total_s > by_itself.prediction.total_s
    resumed = search_plan(calibrated([1.0], overrides=Overrides(warmup_steps=35), begin_step=40)).chosen.plan
    assert resumed.begin_step == 40


def test_only_named_devices_take_part() -> None:
    overrides = Overrides(devices=(AgentId("gpu-1"), AgentId("gpu-2")))
    explanation = search_plan(calibrated([1.0, 0.9, 0.8], overrides=overrides))
    assert explanation.chosen.plan.agents == ("gpu-1", "gpu-2")
    (left_out,) = explanation.exclusions
    assert (left_out.agent, left_out.reason) == ("gpu-0", ExclusionReason.NOT_NAMED)
    with pytest.raises(NoAgentsError, match="gpu-9"):
        search_plan(calibrated([1.0], overrides=Overrides(devices=(AgentId("gpu-9"),))))


@pytest.mark.parametrize("with_numbers", [True, False])
def test_a_quick_search_finds_a_plan_like_the_running_one(with_numbers: bool) -> None:
    make = calibrated if with_numbers else plan_request
    request = make([1.0, 0.8, 0.5, 0.4], link=LOOPBACK)
    running = search_plan(request).chosen.plan
    slower = replace(request, begin_step=21, version=2, running=running, effort=SearchEffort.QUICK)
    explanation = search_plan(slower)
    plan = explanation.chosen.plan
    assert (plan.version, plan.begin_step) == (2, 21)
    assert set(plan.agents) in ({*running.agents}, {"gpu-0"})
    full = search_plan(replace(slower, effort=SearchEffort.FULL)).chosen.prediction.total_s
    assert explanation.chosen.prediction.total_s <= full * 1.05


@pytest.mark.parametrize("quality", [Quality.HIGH, Quality.BALANCED])
@pytest.mark.parametrize("with_numbers", [True, False])
def test_a_quick_search_leaves_a_member_that_stands_almost_still_without_rows(
    quality: Quality, with_numbers: bool
) -> None:
    make = calibrated if with_numbers else plan_request
    request = make([1.0, 0.9, 0.8], link=LOOPBACK, fixed_share=0.1, quality=quality)
    running = search_plan(request).chosen.plan
    first, second, third = request.profiles
    slow = replace(third, fixed_s=40 * third.fixed_s, per_row_s=40 * third.per_row_s)
    now = replace(request, profiles=(first, second, slow), begin_step=16, version=2)
    quick = search_plan(replace(now, running=running, effort=SearchEffort.QUICK)).chosen
    assert not any(part.of(slow.agent).rows.count for part in quick.plan.segments)
    assert quick.prediction.total_s <= search_plan(now).chosen.prediction.total_s * 1.1


def test_a_running_plan_whose_agent_is_gone_is_no_guide() -> None:
    running = search_plan(calibrated([1.0, 0.9, 0.8])).chosen.plan
    request = replace(calibrated([1.0, 0.9]), begin_step=10, running=running, effort=SearchEffort.QUICK)
    assert search_plan(request).chosen.plan.agents == ("gpu-0", "gpu-1")


def test_a_step_is_synchronous_where_rows_have_moved() -> None:
    moved = [
        segment(0, 4, (11, 5)),
        segment(4, 44, (9, 7), exchange=Exchange.DISPLACED, strides=(1, 2)),
        segment(44, 50, (10, 6), exchange=Exchange.DISPLACED),
    ]
    found = [(s.begin_step, s.end_step, s.exchange, s.assignments[0].rows.count) for s in resynchronised(moved)]
    assert found == [
        (0, 3, Exchange.SYNCHRONOUS, 11),
        (3, 4, Exchange.SYNCHRONOUS, 9),
        (4, 44, Exchange.DISPLACED, 9),
        (44, 45, Exchange.SYNCHRONOUS, 10),
        (45, 50, Exchange.DISPLACED, 10),
    ]


def test_the_builder_synchronises_where_it_is_told_to_and_costs_it() -> None:
    request = plan_request([1.0, 0.4], link=LOOPBACK)
    balanced = policy_of(Quality.BALANCED)
    plain, careful = (
        GangPlans(request, request.agents, policy=balanced, resync_after_move=flag) for flag in (False, True)
    )
    plan = careful.plan((1, 2))
    for before, after in zip(plan.segments, plan.segments[1:], strict=False):
        moved = [a.rows for a in before.assignments] != [a.rows for a in after.assignments]
        assert not (moved and after.exchange is Exchange.DISPLACED)
    assert careful.cost.total_s(plan) > plain.cost.total_s(plain.plan((1, 2)))
    assert (plan.begin_step, plan.steps) == (0, 50)


def test_plans_within_the_budget_fit_into_memory() -> None:
    request = calibrated([1.0, 0.9])
    tight = replace(request, usable_bytes=dict.fromkeys(request.agents, 1))
    with pytest.raises(NoAgentsError, match="fits on no agents"):
        search_plan(tight)
    one_is_tight = replace(request, usable_bytes={AgentId("gpu-0"): 1})
    explanation = search_plan(one_is_tight)
    assert explanation.chosen.plan.agents == ("gpu-1",)
    assert explanation.exclusions[0].reason is ExclusionReason.TOO_LITTLE_MEMORY


@pytest.mark.parametrize("with_numbers", [True, False])
def test_a_family_whose_activations_belong_to_a_place_gets_its_synchronous_steps(with_numbers: bool) -> None:
    request = (calibrated if with_numbers else plan_request)([1.0, 0.4], link=LOOPBACK)
    halo = LayerGroup(kind=LayerKind.HALO, layers=4, cell_px=8, cell_bytes=64, rows_above=1, rows_below=1)
    facts = replace(request.facts, exchanged=(*request.facts.exchanged, halo))
    assert facts.resync_after_move
    explanation = search_plan(replace(request, facts=facts))
    for candidate in (explanation.chosen, *explanation.runners_up):
        for before, after in pairwise(candidate.plan.segments):
            moved = [a.rows for a in before.assignments] != [a.rows for a in after.assignments]
            assert not (moved and after.exchange is Exchange.DISPLACED)


def touchy_to_strides(share: float) -> tuple[float, ...]:
    """Ten pictures, of which some are three times as touchy to unequal strides and to jumps as the others."""
    touchy = round(10 * share)
    return (1.0, 3.0, 3.0, 3.0) * touchy + (1.0, 0.8, 0.8, 0.8) * (10 - touchy)


@pytest.mark.parametrize("quality", [Quality.BALANCED, Quality.FAST])
def test_the_touchiest_pictures_keep_the_budget_as_well(quality: Quality) -> None:
    taken: dict[float, int] = {}
    for share in (0.0, 0.2):
        numbers = calibration(together=0.2, unequal=0.5, touchiness=touchy_to_strides(share))
        request = plan_request([1.0, 0.5], quality=quality)
        request = replace(request, facts=replace(request.facts, calibrations=(numbers,)))
        found, chosen = distortion_of(request), search_plan(request).chosen
        assert found is not None
        loss_db = policy_of(quality).loss_db
        assert loss_db is not None
        least = found.plan_expected(equal_patches_plan(request)).less(loss_db)
        predicted = found.plan_expected(chosen.plan)
        assert predicted.mean_db >= least.mean_db - 1e-6
        assert predicted.low_db >= least.low_db - 1e-6
        assert (chosen.prediction.psnr_db, chosen.prediction.psnr_low_db) == (predicted.mean_db, predicted.low_db)
        taken[share] = sum(s.step_count for s in chosen.plan.segments if max(s.strides) > 1)
    assert taken[0.2] < taken[0.0]  # it is they who forbid more
