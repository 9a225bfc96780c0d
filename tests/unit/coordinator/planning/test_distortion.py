from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from polyrhythm.model.calibration import IDENTICAL_PSNR_DB, MULTIPLE_MAX, Calibration, interpolated, mean_age, saturated
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Exchange
from polyrhythm_coordinator.scheduling.planning.distortion import CELL_PRODUCTS_MAX, Distortion, distortion_of
from polyrhythm_coordinator.scheduling.planning.step_errors import products_of, step_errors
from tests.values.calibrations import calibration
from tests.values.plan_requests import plan_request
from tests.values.plans import plan, segment

DISPLACED = Exchange.DISPLACED
CALIBRATION = calibration(steps=20, width=2)
DISTORTION = Distortion.of(CALIBRATION, steps=20, row_count=16)
WINDOWS = len(CALIBRATION.stale_begin_steps)


@pytest.mark.parametrize(
    ("reader", "owner", "age"), [(1, 1, 1.0), (1, 2, 1.5), (2, 1, 1.0), (2, 2, 2.0), (1, 4, 2.5), (4, 1, 1.0)]
)
def test_ages_follow_from_the_last_active_step_before(reader: int, owner: int, age: float) -> None:
    assert mean_age(reader, owner) == age


def test_the_measured_disturbances_predict_themselves() -> None:
    for index in range(WINDOWS):
        begin = CALIBRATION.stale_begin_steps[index]
        end = (*CALIBRATION.stale_begin_steps[1:], 20)[index]
        halves = [segment(0, begin, (8, 8)), segment(begin, end, (8, 8), exchange=DISPLACED, beat_steps=1)]
        rest = [segment(end, 20, (8, 8))] if end < 20 else []
        predicted = DISTORTION.plan_sums(plan(*halves, *rest)).sum()
        # The first window also stands for the steps before it, so that it is not as dense there as it was measured.
        assert predicted == pytest.approx(products_of(CALIBRATION)[index, index])
    for index, place in enumerate(CALIBRATION.merge_steps):
        parts = [segment(place, place + 2, (16,), exchange=DISPLACED, strides=(2,))]
        parts = [segment(0, place, (16,), beat_steps=1), *parts] if place else parts
        parts = [*parts, segment(place + 2, 20, (16,), beat_steps=1)] if place + 2 < 20 else parts
        at = WINDOWS + index
        assert DISTORTION.plan_sums(plan(*parts)).sum() == pytest.approx(products_of(CALIBRATION)[at, at])


def test_two_jumps_in_a_row_leave_what_was_measured_of_them() -> None:
    measured = calibration(steps=20, width=2, following=0.7)
    found = Distortion.of(measured, steps=20, row_count=16)
    place = WINDOWS + measured.merge_steps.index(6)
    following = WINDOWS + len(measured.merge_steps) + measured.following_steps.index(8)
    for parts, chosen in (
        ([segment(6, 10, (16,), exchange=DISPLACED, strides=(2,))], [place, place + 1, following]),
        (
            [
                segment(6, 8, (16,), exchange=DISPLACED, strides=(2,)),
                segment(8, 9, (16,)),
                segment(9, 11, (16,), exchange=DISPLACED, strides=(2,)),
            ],
            None,
        ),
    ):
        end = parts[-1].end_step
        made = plan(segment(0, 6, (16,), beat_steps=1), *parts, segment(end, 20, (16,), beat_steps=1))
        if chosen is not None:
            assert found.plan_sums(made).sum() == pytest.approx(products_of(measured)[np.ix_(chosen, chosen)].sum())
        apart = Distortion.of(calibration(steps=20, width=2), steps=20, row_count=16)
        same = bool(found.plan_sums(made).sum() == pytest.approx(apart.plan_sums(made).sum()))
        assert same is (chosen is None)  # with a step between them they do not follow one another


def test_unequal_strides_leave_what_was_measured_of_them_and_equal_ones_nothing() -> None:
    without, measured = calibration(steps=20, width=2), calibration(steps=20, width=2, unequal=0.7)
    found, plain = (Distortion.of(each, steps=20, row_count=16) for each in (measured, without))

    def sums(*strides: int) -> tuple[float, float]:
        body = segment(4, 12, (8, 8), exchange=DISPLACED, strides=strides, beat_steps=4)
        made = plan(segment(0, 4, (8, 8)), body, segment(12, 20, (8, 8)))
        return found.plan_sums(made).sum(), plain.plan_sums(made).sum()

    for equal in ((1, 1), (2, 2)):
        assert sums(*equal)[0] == pytest.approx(sums(*equal)[1])
    assert sums(1, 2)[0] != pytest.approx(sums(1, 2)[1], rel=1e-3)
    assert found.unequal_R((8, 8), (1, 2)) == pytest.approx(np.ones(16))
    assert found.unequal_R((8, 8), (1, 4)) == pytest.approx(np.full(16, 3.0))


@pytest.mark.parametrize(("correlation", "times"), [(1.0, 0.5), (0.0, 0.5**0.5), (-1.0, MULTIPLE_MAX / 2)])
def test_what_lies_between_two_places_is_as_large_as_they_are(correlation: float, times: float) -> None:
    found = interpolated(5, (4, 6), lambda i, j: 1.0 if i == j else correlation)
    assert found == ((0, pytest.approx(times)), (1, pytest.approx(times)))


def test_at_a_place_and_beyond_all_of_them_one_counts() -> None:
    for position, index in ((4, 0), (6, 1), (1, 0), (9.5, 1)):
        assert interpolated(position, (4, 6), lambda i, j: float(i == j)) == ((index, 1.0),)


def test_errors_add_as_vectors() -> None:
    displaced = plan(segment(0, 4, (8, 8)), segment(4, 20, (8, 8), exchange=DISPLACED, beat_steps=4))
    chosen = slice(1, WINDOWS)
    assert DISTORTION.plan_sums(displaced).sum() == pytest.approx(products_of(CALIBRATION)[chosen, chosen].sum())


def test_what_is_synchronous_or_alone_at_full_rate_is_the_same_picture() -> None:
    assert DISTORTION.plan_expected(plan(segment(0, 20, (10, 6)))).mean_db == IDENTICAL_PSNR_DB
    alone = plan(segment(0, 20, (16,), exchange=DISPLACED))
    assert DISTORTION.plan_expected(alone).mean_db == IDENTICAL_PSNR_DB


def test_less_is_stale_where_one_device_holds_more() -> None:
    def psnr_db(*counts: int) -> float:
        parts = segment(0, 4, counts), segment(4, 20, counts, exchange=DISPLACED, beat_steps=4)
        return DISTORTION.plan_expected(plan(*parts)).mean_db

    assert psnr_db(15, 1) > psnr_db(12, 4) > psnr_db(8, 8) > psnr_db(4, 4, 4, 4)
    assert psnr_db(16, 0) == IDENTICAL_PSNR_DB


def test_rows_may_lie_in_any_order() -> None:
    one = segment(4, 20, (12, 4), exchange=DISPLACED, strides=(1, 2), beat_steps=4)
    upper, lower = one.assignments
    swapped = replace(one, assignments=(replace(lower, agent=upper.agent), replace(upper, agent=lower.agent)))
    assert DISTORTION.sums_of(DISTORTION.exposures_RS(one)) == pytest.approx(
        DISTORTION.sums_of(DISTORTION.exposures_RS(swapped))
    )


def test_a_longer_grid_is_disturbed_less_by_the_same_plan() -> None:
    def psnr_db(steps: int) -> float:
        longer = Distortion.of(CALIBRATION, steps=steps, row_count=16)
        displaced = plan(segment(0, 4, (8, 8)), segment(4, steps, (8, 8), exchange=DISPLACED))
        return longer.plan_expected(displaced).mean_db

    assert psnr_db(20) < psnr_db(30) < psnr_db(50)


def test_row_weights_keep_their_shape_at_another_height() -> None:
    taller = Distortion.of(CALIBRATION, steps=20, row_count=24)
    assert taller.weights_R.mean() == pytest.approx(1.0)
    np.testing.assert_allclose(taller.weights_R.reshape(8, 3).mean(axis=1), CALIBRATION.row_weights, rtol=1e-9)


def test_large_errors_stay_behind_their_sum() -> None:
    assert saturated(1e-6, 1e-2) == pytest.approx(1e-6, rel=1e-3)
    assert saturated(1.0, 1e-2) < 0.1
    assert saturated(2.0, 1e-2) > saturated(1.0, 1e-2)


def test_another_sampler_is_not_calibrated() -> None:
    request = plan_request([1.0], steps=20)
    assert distortion_of(request) is None
    facts = replace(request.facts, calibrations=(CALIBRATION,))
    assert distortion_of(replace(request, facts=facts)) is not None
    image = replace(request.image, sampler=Sampler.DPM_SOLVER_PP_2M)
    assert distortion_of(replace(request, facts=facts, image=image)) is None


SHORT, LONG = calibration(steps=20, width=2, scale=2.0), calibration(steps=50, together=1.0)


def displaced_db(found: Distortion, stride: int = 1) -> float:
    steps = found.steps
    body = segment(4, steps - steps % 2, (8, 8), exchange=DISPLACED, strides=(1, stride), beat_steps=2)
    rest = [segment(steps - 1, steps, (8, 8))] if steps % 2 else []
    return found.plan_expected(plan(segment(0, 4, (8, 8)), body, *rest)).mean_db


@pytest.mark.parametrize("stride", [1, 2])
def test_between_two_lengths_each_counts_by_its_nearness_and_at_a_length_it_counts_alone(stride: int) -> None:
    def db(*measured: Calibration, steps: int) -> float:
        return displaced_db(Distortion.of(*measured, steps=steps, row_count=16), stride)

    assert db(SHORT, LONG, steps=20) == pytest.approx(db(SHORT, steps=20))
    assert db(SHORT, LONG, steps=50) == pytest.approx(db(LONG, steps=50))
    found = [db(SHORT, LONG, steps=steps) for steps in range(20, 51, 3)]
    assert all(min(found[0], found[-1]) - 0.5 <= one <= max(found[0], found[-1]) + 0.5 for one in found)
    assert stride == 2 or found == sorted(found)
    middle = round((20 * 50) ** 0.5)
    ends = [db(one, steps=middle) for one in (SHORT, LONG)]
    assert abs(ends[0] - ends[1]) > 3  # or nearest and interpolated would look the same
    assert db(SHORT, LONG, steps=middle) == pytest.approx(sum(ends) / 2, abs=0.5)


def test_what_lies_between_two_calibrations_is_of_vectors() -> None:
    products = step_errors((SHORT, LONG), 31).products_SS
    values = np.linalg.eigvalsh((products + products.T) / 2)
    assert values.min() >= -1e-9 * values.max()


def test_the_touchiest_pictures_are_predicted_from_those_that_were_measured() -> None:
    times = np.geomspace(0.25, 4.0, 21)
    stale_only = tuple(value for one in times for value in (one, 1.0, 1.0, 1.0))
    found = Distortion.of(calibration(steps=20, width=2, touchiness=stale_only), steps=20, row_count=16)
    calm = Distortion.of(calibration(steps=20, width=2), steps=20, row_count=16)
    displaced = plan(segment(0, 4, (8, 8)), segment(4, 20, (8, 8), exchange=DISPLACED))
    merged = plan(segment(0, 4, (16,)), segment(4, 20, (16,), exchange=DISPLACED, strides=(2,)))
    assert found.plan_expected(merged) == calm.plan_expected(merged)  # nobody is touchy to jumps
    expected, typical = found.plan_expected(displaced), calm.plan_expected(displaced)
    assert typical.mean_db == typical.low_db
    assert expected.low_db < expected.mean_db - 5
    sums = found.plan_sums(displaced)
    assert expected.low_db == pytest.approx(np.quantile(found.psnr_XP(sums[None])[0], 0.1))


def test_more_seams_than_one_count_with_their_power() -> None:
    thirds = plan(segment(0, 4, (6, 5, 5)), segment(4, 20, (6, 5, 5), exchange=DISPLACED))
    halves = plan(segment(0, 4, (8, 8)), segment(4, 20, (8, 8), exchange=DISPLACED))
    plain, grown = (
        Distortion.of(calibration(steps=20, width=2, seam_power=power), steps=20, row_count=16) for power in (0.0, 0.5)
    )
    assert grown.plan_sums(halves) == pytest.approx(plain.plan_sums(halves))
    assert grown.plan_sums(thirds) == pytest.approx(2 * plain.plan_sums(thirds))


def test_of_the_products_of_cells_those_are_kept_that_were_asked_for_last() -> None:
    found = Distortion.of(calibration(steps=10, width=2), steps=10, row_count=4)
    keys = [((begin, end),) for begin in range(9) for end in range(begin + 1, 11)]
    questions = [(cells, rest, strides) for cells in keys for rest in (9, 10) for strides in ((), (2,))]
    first = found.cell_products(*questions[0])
    for question in questions[1:CELL_PRODUCTS_MAX]:
        found.cell_products(*question)
    assert found.cell_products(*questions[0]) is first
    for question in questions[CELL_PRODUCTS_MAX : 2 * CELL_PRODUCTS_MAX]:
        found.cell_products(*question)
    again = found.cell_products(*questions[0])
    assert again is not first
    assert np.array_equal(again.pairs_QTTNN, first.pairs_QTTNN)
