"""The parts of the latency study: drawing, plans, statistics, distances, aims, table."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from latency_study.aims import judge
from latency_study.campaign import Job, round_order
from latency_study.estimate import at_speed
from latency_study.pairs import DRAWN_RANGE, SpeedPair, speed_pairs
from latency_study.pictures import IDENTICAL_PSNR_DB, compare, psnr_db, ssim
from latency_study.prompts import PROMPTS, prompt
from latency_study.statistics import Spread, paired_ratio, prediction_error, utilisation
from latency_study.summary import Row
from latency_study.table import HEADERS, cells, markdown_aims, markdown_table
from latency_study.variants import Measured, PlannedVariant, Variant, describe, ideal, plan_variants

from polyrhythm.image import ImageSpec, Sampler
from polyrhythm.plan import Exchange
from tests.unit.benchmarks.study_fleet import FACTS, CalculatedFleet

JOB = Job(steps=50, sampler=Sampler.DDIM)


def measured_at(slow_speed: float) -> Measured:
    fleet = CalculatedFleet((1.0, slow_speed))
    return Measured(facts=FACTS, profiles=fleet.plan_request(JOB.request(0)).profiles, links={})


def picture(measured: Measured) -> ImageSpec:
    return JOB.image(measured)


def variants_at(slow_speed: float) -> dict[Variant, PlannedVariant]:
    measured = measured_at(slow_speed)
    return plan_variants(measured, picture(measured))


def test_a_seed_draws_the_same_pairs_and_another_seed_draws_others() -> None:
    pairs = speed_pairs("a commit", 10)
    assert pairs == speed_pairs("a commit", 10)
    assert pairs != speed_pairs("another commit", 10)
    assert [pair.slow_speed for pair in pairs[:2]] == [0.5, 0.4]
    assert [pair.drawn for pair in pairs] == [False] * 2 + [True] * 10
    assert all(DRAWN_RANGE[0] <= pair.slow_speed <= DRAWN_RANGE[1] for pair in pairs)


def test_fewer_pairs_are_the_first_of_more() -> None:
    assert speed_pairs("7", 4) == speed_pairs("7", 10)[:6]


@pytest.mark.parametrize("speed", [0.0, -1.0, 1.5])
def test_a_pair_needs_a_speed_that_can_be_emulated(speed: float) -> None:
    with pytest.raises(ValueError, match="slow device"):
        SpeedPair(slow_speed=speed, drawn=False)


def test_there_are_enough_prompts_and_all_differ() -> None:
    assert len(set(PROMPTS)) == len(PROMPTS) >= 32
    assert len({prompt(index) for index in range(100)}) == 100


@pytest.mark.parametrize("slow_speed", [0.25, 0.4, 0.5, 0.77, 1.0])
def test_the_variants_differ_in_their_plans_only(slow_speed: float) -> None:
    planned = variants_at(slow_speed)
    assert list(planned) == list(Variant)
    assert planned[Variant.SOLO].plan.agents == ("local-0",)
    equal = planned[Variant.EQUAL].plan
    assert [segment.exchange for segment in equal.segments] == [Exchange.SYNCHRONOUS, Exchange.DISPLACED]
    assert equal.segments[0].end_step == 4
    assert {tuple(a.rows.count for a in segment.assignments) for segment in equal.segments} == {(8, 8)}
    for variant in (Variant.EQUAL, Variant.ROWS, Variant.FEWER_STEPS):
        assert {stride for segment in planned[variant].plan.segments for stride in segment.strides} == {1}
    strided = planned[Variant.STRIDES].plan.segments
    assert [segment.strides for segment in strided] == [(1, 1), (1, 2)]
    assert strided[-1].end_step == 50
    steps = {variant: one.plan.steps for variant, one in planned.items()}
    assert steps.pop(Variant.FEWER_STEPS) <= 50
    assert set(steps.values()) == {50}


def test_balanced_keeps_four_steps_at_each_end() -> None:
    segments = variants_at(0.5)[Variant.BALANCED].plan.segments
    assert [(s.begin_step, s.end_step, s.strides) for s in segments] == [
        (0, 4, (1, 1)),
        (4, 46, (1, 2)),
        (46, 50, (1, 1)),
    ]


@pytest.mark.parametrize("slow_speed", [0.25, 0.4, 0.5, 0.77, 1.0])
def test_fewer_steps_take_as_long_as_balanced(slow_speed: float) -> None:
    planned = variants_at(slow_speed)
    step_s = planned[Variant.ROWS].prediction.denoise_s / 50
    off_s = planned[Variant.FEWER_STEPS].prediction.denoise_s - planned[Variant.BALANCED].prediction.denoise_s
    assert abs(off_s) <= step_s


@pytest.mark.parametrize(("slow_speed", "cut"), [(0.5, 0.47), (0.4, 0.53)])
def test_the_ideal_is_that_of_the_literature_notes(slow_speed: float, cut: float) -> None:
    measured = measured_at(slow_speed)
    seconds = ideal((1.0, slow_speed), measured, picture(measured))
    assert 1 - seconds[Variant.BALANCED] / seconds[Variant.EQUAL] == pytest.approx(cut, abs=0.006)


def test_a_plan_in_one_line() -> None:
    assert describe(variants_at(0.5)[Variant.EQUAL].plan) == "0-4: 8 + 8, 4-50: 8 + 8"
    assert describe(variants_at(0.5)[Variant.BALANCED].plan).endswith(", 4-46: 8 + 8/2, 46-50: 11 + 5")


def test_every_round_runs_every_variant_in_an_order_of_its_own() -> None:
    pair = SpeedPair(slow_speed=0.5, drawn=False)
    orders = [round_order("s", pair, index) for index in range(5)]
    assert all(sorted(order) == sorted(Variant) for order in orders)
    assert len(set(orders)) > 1
    assert orders == [round_order("s", pair, index) for index in range(5)]


def test_spread_ratio_utilisation_and_error() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=3.0)
    assert paired_ratio([1.0, 4.0], [2.0, 4.0]) == Spread(median=0.75, low=0.5, high=1.0)
    assert utilisation([2.0, 1.0], 2.0, 2) == 0.75
    assert prediction_error(1.1, 1.0) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])
    with pytest.raises(ValueError, match="longer"):
        paired_ratio([1.0], [1.0, 2.0])


def test_identical_pictures_count_as_identical_and_noise_as_noise() -> None:
    generator = np.random.default_rng(0)
    reference = generator.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    off_by_one = reference + np.uint8(1)
    assert psnr_db(reference, reference) == IDENTICAL_PSNR_DB
    assert psnr_db(off_by_one, reference) == pytest.approx(48.13, abs=0.01)
    assert ssim(reference, reference) == pytest.approx(1.0)
    assert ssim(255 - reference, reference) < 0.1
    quality = compare([reference, off_by_one], [reference, reference])
    assert quality.prompts == 2
    assert quality.identical == 1
    assert quality.psnr_low_db == pytest.approx(48.13, abs=0.01)


def test_one_level_in_one_pixel_is_less_than_what_stands_for_identical() -> None:
    reference = np.zeros((128, 128, 3), dtype=np.uint8)
    image = reference.copy()
    image[0, 0, 0] = 1
    assert 90 < psnr_db(image, reference) < IDENTICAL_PSNR_DB


def test_a_measurement_scales_to_other_speeds() -> None:
    first = SpeedPair(slow_speed=0.5, drawn=False)
    scaled, direct = at_speed(measured_at(0.5), first, 0.25), measured_at(0.25)
    assert scaled.profiles[1].forward_s(16) == pytest.approx(direct.profiles[1].forward_s(16))
    assert scaled.profiles[0] == direct.profiles[0]


def row(variant: Variant, *, slow_speed: float = 0.5, to_equal: float = 0.5, to_solo: float = 0.6) -> Row:
    even = Spread(median=1.0, low=0.9, high=1.1)
    return Row(
        pair=f"1 : {slow_speed:g}",
        slow_speed=slow_speed,
        drawn=False,
        variant=variant,
        plan="",
        steps=50,
        predicted_s=1.0,
        prediction_error=0.0,
        denoise_s=even,
        to_equal=to_equal,
        to_equal_paired=Spread(median=to_equal, low=to_equal - 0.1, high=to_equal + 0.1),
        to_solo=to_solo,
        to_solo_paired=even,
        utilisation=even,
        wait_s=(0.1, 0.2),
        core_wait_s=0.0,
        sent_bytes=1_500_000,
        bytes_as_predicted=True,
        ideal_to_equal=0.53,
        ideal_to_solo=0.53,
    )


def test_aims_are_judged_by_the_numbers() -> None:
    rows = [row(Variant.BALANCED, to_equal=0.56), row(Variant.BALANCED, slow_speed=0.3, to_solo=1.03)]
    met = {aim.what: aim.met for aim in judge(rows)}
    assert met["balanced below equal patches at 1 : 0.5"]
    assert not met["balanced / fastest device alone, worst pair"]
    assert met["prediction error, worst"]
    worse = [*rows, replace(row(Variant.EQUAL), prediction_error=-0.13)]
    assert not {aim.what: aim.met for aim in judge(worse)}["prediction error, worst"]


def test_a_cut_below_its_aim_is_not_met() -> None:
    (cut, *_) = judge([row(Variant.BALANCED, to_equal=0.571)])
    assert not cut.met
    assert "42.9%" in cut.measured


def test_the_table_has_a_line_for_each_row_and_says_when_bytes_differ() -> None:
    rows = [
        row(Variant.SOLO),
        replace(row(Variant.EQUAL), bytes_as_predicted=False),
        row(Variant.EQUAL, slow_speed=0.4),
    ]
    lines = cells(rows, [])
    assert [line.begins_pair for line in lines] == [True, False, True]
    assert "not as predicted" in lines[1].texts[HEADERS.index("sent MB")]
    table = markdown_table(rows, []).splitlines()
    assert len(table) == 2 + len(rows)
    assert len({line.count("|") for line in table}) == 1
    assert "| no |" in markdown_aims(judge([row(Variant.BALANCED, to_equal=0.9)]))


def test_variants_are_listed_from_the_slowest_rule_to_the_product() -> None:
    order = list(Variant)
    assert order[0] is Variant.SOLO
    assert order[-1] is Variant.BALANCED
    seconds = [
        variants_at(0.5)[variant].prediction.denoise_s for variant in (Variant.EQUAL, Variant.ROWS, Variant.BALANCED)
    ]
    assert all(slower > faster for slower, faster in pairwise(seconds))
