"""The parts of the latency study: drawing, plans, statistics, distances, aims, table."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from latency_study.aims import judge
from latency_study.campaign import Job, round_order
from latency_study.cases import (
    DRAWN_RANGE,
    FLEET_CORES,
    FLEET_SIZES,
    Case,
    Group,
    Load,
    all_cases,
    random_fleets,
    speed_pair,
    speed_pairs,
)
from latency_study.estimate import case_s, true_speeds
from latency_study.pictures import IDENTICAL_PSNR_DB, compare, psnr_db, ssim
from latency_study.prompts import PROMPTS, prompt
from latency_study.statistics import Spread, paired_ratio, prediction_error, utilisation
from latency_study.summary import CoreTime, Row
from latency_study.table import HEADERS, cells, markdown_aims, markdown_table
from latency_study.variants import Measured, PlannedVariant, Variant, describe, ideal, plan_variants

from polyrhythm.job.image import ImageSpec
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Exchange
from polyrhythm_client.local.layout import cores_by_share
from tests.tools.benchmarks.study_fleet import FACTS, CalculatedFleet

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
    with pytest.raises(ValueError, match="device's speed"):
        speed_pair(speed)


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
    pair = speed_pair(0.5)
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


def test_longer_larger_and_slower_pictures_are_expected_to_take_longer() -> None:
    plain = speed_pair(0.5)
    own_s = case_s(plain, JOB, repetitions=3)
    assert case_s(plain, JOB, repetitions=4) > own_s
    assert case_s(plain, JOB, repetitions=3, prompts=2) > own_s
    assert case_s(replace(plain, steps=100), JOB, repetitions=3) > own_s
    assert case_s(replace(plain, width_px=192, height_px=192), JOB, repetitions=3) > own_s
    assert case_s(speed_pair(0.25), JOB, repetitions=3) > own_s
    loaded = replace(plain, speeds=(1.0, 1.0), load=Load(device=1, share=0.5))
    assert true_speeds(loaded) == [1.0, 0.5]
    assert case_s(loaded, JOB, repetitions=3) == own_s


def test_every_case_has_a_name_of_its_own_and_is_there_once() -> None:
    cases = all_cases(frozenset(Group), seed="7", pairs=3, fleets=20)
    assert len({case.name for case in cases}) == len(cases)
    assert [case.group for case in cases] == sorted((case.group for case in cases), key=list(Group).index)
    assert (
        sum(case.speeds == (1.0, 0.4) and case.load is None and case.model == "demo-transformer" for case in cases) == 1
    )
    assert {case.load.share for case in cases if case.load} == {0.2, 0.4, 0.6}
    assert all(cores_by_share(case.speeds, range(2)) is not None for case in cases)
    assert {case.group for case in all_cases(frozenset({Group.GANGS}), seed="7", pairs=3, fleets=20)} == {Group.GANGS}


def test_random_fleets_fit_on_their_cores_and_fewer_are_the_first_of_more() -> None:
    fleets = random_fleets("a commit", 60)
    assert fleets[:20] == random_fleets("a commit", 20)
    assert fleets != random_fleets("another commit", 60)
    assert {len(fleet.speeds) for fleet in fleets} == set(FLEET_SIZES)
    assert all(DRAWN_RANGE[0] <= speed <= DRAWN_RANGE[1] for fleet in fleets for speed in fleet.speeds)
    assert all(cores_by_share(fleet.speeds, range(FLEET_CORES)) is not None for fleet in fleets)
    assert all(fleet.steps is not None and 20 <= fleet.steps <= 50 for fleet in fleets)
    assert len({fleet.model for fleet in fleets}) == 2
    assert len({(fleet.width_px, fleet.height_px) for fleet in fleets}) == 5


def test_a_case_needs_what_it_is_compared_with_and_a_load_needs_a_device() -> None:
    with pytest.raises(ValueError, match="compares with"):
        replace(speed_pair(0.5), variants=(Variant.BALANCED,))
    with pytest.raises(ValueError, match="no device 2"):
        replace(speed_pair(0.5), load=Load(device=2, share=0.5))
    with pytest.raises(ValueError, match="between 0 and 1"):
        Load(device=1, share=1.0)


def test_what_runs_freely_has_neither_emulation_nor_load() -> None:
    freely = Case(group=Group.OCCUPANCY, speeds=(1.0, 0.5), load=Load(device=1, share=0.2)).freely
    assert freely.speeds == (1.0, 1.0)
    assert freely.load is None


def test_a_share_of_the_core_is_of_the_time_in_which_it_was_wanted() -> None:
    assert CoreTime(ran_s=3.0, queued_s=1.0).since(CoreTime(ran_s=2.0, queued_s=0.0)).share == 0.5
    assert CoreTime(ran_s=0.0, queued_s=0.0).share == 1.0


def row(variant: Variant, *, slow_speed: float = 0.5, to_equal: float = 0.5, to_solo: float = 0.6) -> Row:
    even = Spread(median=1.0, low=0.9, high=1.1)
    return Row(
        case=f"1 : {slow_speed:g}",
        group=Group.PAIRS,
        speeds=(1.0, slow_speed),
        load_share=0.0,
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
        member_utilisation=even,
        wait_s=(0.1, 0.2),
        core_wait_s=0.0,
        core_shares=(1.0, 0.9),
        sent_bytes=1_500_000,
        bytes_as_predicted=True,
        ideal_to_equal=0.53,
        ideal_to_solo=0.53,
    )


def test_aims_are_judged_by_the_numbers() -> None:
    rows = [row(Variant.BALANCED, to_equal=0.56), row(Variant.BALANCED, slow_speed=0.3, to_solo=1.03)]
    met = {aim.what: aim.met for aim in judge(rows)}
    assert met["balanced below equal patches at 1 : 0.5"]
    assert not met["balanced / fastest device alone, worst case"]
    assert met["prediction error, worst"]
    worse = [*rows, replace(row(Variant.EQUAL), prediction_error=-0.13)]
    assert not {aim.what: aim.met for aim in judge(worse)}["prediction error, worst"]


def test_both_kinds_of_balanced_are_held_against_the_aim_for_an_occupied_device() -> None:
    emulated = row(Variant.UNCALIBRATED, slow_speed=0.4, to_equal=0.54)
    loaded = replace(row(Variant.BALANCED, slow_speed=1.0, to_equal=0.56), case="loaded", load_share=0.6)
    lightly = replace(loaded, case="lightly", load_share=0.2)
    found = {aim.what: aim.met for aim in judge([emulated, loaded, lightly]) if "below equal" in aim.what}
    assert found == {
        "balanced, uncalibrated below equal patches at 1 : 0.4": True,
        "balanced below equal patches at loaded": False,
    }


def test_the_worst_fleet_decides() -> None:
    good, bad = (Spread(median=share, low=share, high=share) for share in (0.95, 0.85))
    fleets = [
        replace(row(Variant.BALANCED, to_solo=to_solo), case=name, group=Group.FLEETS, member_utilisation=busy)
        for name, to_solo, busy in (("one", 0.6, bad), ("two", 1.03, good))
    ]
    found = {aim.what: aim for aim in judge(fleets)}
    worst = found["balanced / fastest device alone, worst of 2 random fleets"]
    assert not worst.met
    assert worst.measured == "1.030 at two"
    busy = found["members' utilisation by balanced, each of 2 random fleets"]
    assert not busy.met
    assert busy.measured == "85% at one; median 90%"


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
    assert [line.begins_case for line in lines] == [True, False, True]
    assert "not as predicted" in lines[1].texts[HEADERS.index("sent MB")]
    table = markdown_table(rows, []).splitlines()
    assert len(table) == 2 + len(rows)
    assert len({line.count("|") for line in table}) == 1
    assert "| no |" in markdown_aims(judge([row(Variant.BALANCED, to_equal=0.9)]))


def test_variants_are_listed_from_the_slowest_rule_to_the_product() -> None:
    order = list(Variant)
    assert order[0] is Variant.SOLO
    assert order[-2:] == [Variant.BALANCED, Variant.FAST]
    seconds = [
        variants_at(0.5)[variant].prediction.denoise_s for variant in (Variant.EQUAL, Variant.ROWS, Variant.BALANCED)
    ]
    assert all(slower > faster for slower, faster in pairwise(seconds))
