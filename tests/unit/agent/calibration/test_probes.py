"""Which plans measure what, and what is made of the errors."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from polyrhythm.errors import PictureFailedError
from polyrhythm.model.calibration import EARLY_JUMP, JUMP, KINDS, STALE, UNEQUAL, Calibration, kind_of_jump, saturated
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Exchange
from polyrhythm_agent.calibration.fit import MeasuredAs, sum_up
from polyrhythm_agent.calibration.joint_fit import (
    fit_joints,
    joint_blocks,
    jump_exposures,
    kind_of_each,
    seams_of_joints,
)
from polyrhythm_agent.calibration.measure import PictureErrors, Single, beyond_equal, probe_count
from polyrhythm_agent.calibration.probes import (
    MEMBERS_MAX,
    Grid,
    counts_of,
    grid_of,
    joint_probe,
    joints,
    merge_probes,
    reference_plan,
    stale_probes,
    unequal_probes,
)
from polyrhythm_coordinator.scheduling.planning.distortion import PAIRS, Distortion

TWO_M, DDIM = Sampler.DPM_SOLVER_PP_2M, Sampler.DDIM


def disturbances(grid: Grid) -> int:
    parts = (grid.stale_begin_steps, grid.merge_steps, grid.following_steps, grid.unequal_begin_steps)
    return sum(map(len, parts))


@pytest.mark.parametrize("sampler", [TWO_M, DDIM])
@pytest.mark.parametrize("steps", [8, 9, 20, 25, 50, 100])
def test_windows_and_places_cover_the_grid(steps: int, sampler: Sampler) -> None:
    grid = grid_of(steps, sampler)
    for windows, shortest in ((grid.stale_windows, 1), (grid.unequal_windows, 2)):
        assert (windows[0][0], windows[-1][1]) == (1, steps)
        assert all(before[1] == after[0] for before, after in pairwise(windows))
        assert all(end - begin >= shortest for begin, end in windows)
    assert grid.stale_windows[-1] == (steps - 1, steps)
    assert all(b - a >= 2 for a, b in pairwise(grid.merge_steps))
    assert grid.merge_steps[-1] == steps - 2
    assert grid.following_steps == (grid.merge_steps[1:] if sampler == TWO_M else ())
    single = len(grid.stale_windows) + len(grid.jump_steps) + len(grid.unequal_windows)
    for members in (2, 3, MEMBERS_MAX):
        measured = joints(grid, members=members)
        assert probe_count(grid, members=members, in_full=True) == single + len(measured)
        assert probe_count(grid, members=members, in_full=False) == sum(joint.for_all for joint in measured)
        assert max(len(joint.parts) for joint in measured) == members


def test_a_grid_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 steps"):
        grid_of(7, DDIM)


def test_a_probe_of_a_window_disturbs_it_alone_and_begins_where_it_must() -> None:
    grid = grid_of(50, DDIM)
    for windows, plans, strides in (
        (grid.stale_windows, stale_probes(grid, 15), (1, 1)),
        (grid.unequal_windows, unequal_probes(grid, 15), (1, 2)),
    ):
        for (begin, end), plan in zip(windows, plans, strict=True):
            (displaced,) = (s for s in plan.segments if s.exchange is Exchange.DISPLACED)
            whole = (end - begin) // max(strides) * max(strides)
            assert (displaced.begin_step, displaced.end_step) == (begin, begin + whole)
            assert (displaced.strides, plan.begin_step, plan.steps) == (strides, begin - 1, 50)
            assert [a.rows.count for a in displaced.assignments] == [8, 7]


@pytest.mark.parametrize(("steps", "sampler"), [(20, TWO_M), (25, TWO_M), (50, TWO_M), (50, DDIM)])
def test_a_probe_of_jumps_jumps_where_it_says(steps: int, sampler: Sampler) -> None:
    grid = grid_of(steps, sampler)
    for wanted, plan in zip(grid.jump_steps, merge_probes(grid, 16), strict=True):
        jumps = [step for s in plan.segments if s.strides == (2,) for step in range(s.begin_step, s.end_step, 2)]
        assert tuple(jumps) == wanted
        assert plan.begin_step == wanted[0]
    for step in grid.following_steps:
        assert {(step,), (step - 2,), (step - 2, step)} <= set(grid.jump_steps)


def test_joint_probes_hold_what_they_say() -> None:
    grid = grid_of(20, TWO_M)
    for joint in joints(grid):
        plan = joint_probe(joint, grid, 16)
        displaced = [s for s in plan.segments if s.exchange is Exchange.DISPLACED]
        if joint.stale:
            assert [(s.begin_step, s.end_step, s.strides) for s in displaced] == [(4, 20, joint.strides)]
            assert plan.row_count == 16
        else:
            assert tuple(step for s in displaced for step in range(s.begin_step, s.end_step, 2)) == joint.merges


@pytest.mark.parametrize("steps", [8, 12, 20, 50])
def test_early_jumps_have_a_probe_of_their_own_on_every_picture(steps: int) -> None:
    """Among the jumps of the whole grid they are lost, and the pictures that are measured in full are few."""
    early = tuple(step for step in range(0, steps - 1, 2) if kind_of_jump(step, steps) == EARLY_JUMP)
    alone = [joint for joint in joints(grid_of(steps, TWO_M)) if not joint.stale and joint.merges == early]
    assert early
    assert [joint.for_all for joint in alone] == [True]


@pytest.mark.parametrize(
    ("parts", "rows", "counts"),
    [((1, 1), 15, (8, 7)), ((3, 1), 16, (12, 4)), ((1, 1, 1), 8, (3, 3, 2)), ((1,), 5, (5,))],
)
def test_parts_become_whole_rows(parts: tuple[int, ...], rows: int, counts: tuple[int, ...]) -> None:
    assert counts_of(parts, rows) == counts


def test_the_reference_has_a_boundary_after_every_step() -> None:
    assert [beat.end_step for beat in reference_plan(9, 4).beats()] == list(range(1, 10))


def test_a_jump_after_a_jump_is_exposed_to_what_both_leave_beyond_themselves() -> None:
    grid = grid_of(20, TWO_M)
    products = np.eye(disturbances(grid))
    windows, places = len(grid.stale_begin_steps), len(grid.merge_steps)
    found = jump_exposures(grid, products, (2, 4, 6, 10))
    followed = [windows + places + 1, windows + places + 2]
    assert np.flatnonzero(found[EARLY_JUMP]).tolist() == [windows + 1]
    assert np.flatnonzero(found[JUMP]).tolist() == [windows + 2, windows + 3, windows + 5, *followed]
    alone = jump_exposures(grid_of(20, DDIM), products, (4, 6))
    assert np.flatnonzero(alone.sum(axis=0)).tolist() == [windows + 2, windows + 3]


AS = MeasuredAs(sampler=TWO_M, width_px=128, height_px=128, guidance=4.0)
WEIGHTS = np.array([0.5, 1.5, 1.5, 0.5])
ROWS = np.array([1.0, 5.0, 5.0, 1.0]) / 3


def typical_products(grid: Grid) -> np.ndarray:
    vectors = np.random.default_rng(5).normal(size=(disturbances(grid), 60)) + 0.3
    return vectors @ vectors.T * 1e-6


def test_the_planner_predicts_what_the_calibration_fitted() -> None:
    """Both sum up the same plan: the one by its joint probes, the other by the plan."""
    for steps, sampler in ((20, TWO_M), (25, DDIM)):
        grid = grid_of(steps, sampler)
        products = typical_products(grid)
        measured = Calibration(
            sampler=sampler,
            steps=steps,
            latent_range=1.0,
            stale_begin_steps=grid.stale_begin_steps,
            merge_steps=grid.merge_steps,
            following_steps=grid.following_steps,
            unequal_begin_steps=grid.unequal_begin_steps,
            products=tuple(products.ravel().tolist()),
            touchiness=(1.0,) * KINDS,
            row_weights=tuple(WEIGHTS.tolist()),
            saturation_mse=1.0,
            seam_power=0.3,
            width_px=128,
            height_px=128,
            guidance=4.0,
        )
        found = Distortion.of(measured, steps=steps, row_count=16)
        blocks = joint_blocks(grid, products, np.repeat(WEIGHTS, 4), members=MEMBERS_MAX)
        seams = seams_of_joints(grid, members=MEMBERS_MAX)
        for joint, block, count in zip(joints(grid), blocks, seams, strict=True):
            grown = np.where(np.isin(np.arange(KINDS), (STALE, UNEQUAL)), count**0.3, 1.0)
            meant = [
                grown[one] * grown[other] * block[one, other] * (1.0 if one == other else 2.0) for one, other in PAIRS
            ]
            assert found.plan_sums(joint_probe(joint, grid, 16)) == pytest.approx(np.array(meant), abs=1e-12)


def sums_of(times: np.ndarray, blocks: np.ndarray, crowded: np.ndarray) -> np.ndarray:
    """Of pictures by joint probes; what is read of others counts so many times in each probe."""
    of_others = np.isin(np.arange(KINDS), (STALE, UNEQUAL))
    each = times[:, None] * np.where(of_others, crowded[:, None], 1.0)
    return np.einsum("pja,jab,pjb->pj", each, blocks, each)


@pytest.mark.parametrize("saturation_mse", [0.1, 1e2])
def test_what_kinds_cost_and_whom_is_found_again(saturation_mse: float) -> None:
    grid = grid_of(20, TWO_M)
    blocks = joint_blocks(grid, typical_products(grid), WEIGHTS, members=MEMBERS_MAX)
    draw = np.random.default_rng(2)
    touchiness = np.exp(draw.normal(scale=0.4, size=(12, KINDS)))
    touchiness /= np.exp(np.log(touchiness).mean(axis=0))
    times = np.array([1.3, 0.6, 0.8, 2.0])
    own = touchiness * times
    seams = seams_of_joints(grid, members=MEMBERS_MAX)
    measured = saturated(sums_of(own, blocks, seams**0.25), saturation_mse)
    for_all = [joint.for_all for joint in joints(grid)]
    measured[:, for_all.index(False)] = np.nan  # nobody was measured by it
    measured[3:, len(for_all) - 1 - for_all[::-1].index(False)] = np.nan
    found = fit_joints(blocks, seams, measured)
    again = found.times_K * found.touchiness_PK
    predicted = saturated(sums_of(again, blocks, seams**found.seam_power), found.saturation_mse)
    misses_db = 10 * np.log10(predicted / measured)
    assert np.nanmax(np.abs(misses_db)) < 1.0
    assert np.nanmax(np.abs(np.nanmean(misses_db[:, ~np.isnan(measured).all(axis=0)], axis=0))) < 0.2
    assert found.seam_power == pytest.approx(0.25, abs=0.1)
    assert np.corrcoef(np.log(found.touchiness_PK[:, STALE]), np.log(touchiness[:, STALE]))[0, 1] > 0.95
    assert np.exp(np.log(found.touchiness_PK).mean(axis=0)) == pytest.approx(np.ones(KINDS))


def test_unequal_strides_leave_nothing_beyond_where_everything_adds_up() -> None:
    grid = grid_of(20, TWO_M)
    draw = np.random.default_rng(1)
    errors = draw.normal(size=(disturbances(grid) - len(grid.unequal_begin_steps), 16))
    upper = np.arange(16) < 8
    windows = len(grid.stale_begin_steps)
    begin, end = grid.unequal_windows[2]
    index = grid.stale_windows.index((begin, end))
    together = np.where(upper, 1.5 * errors[index], errors[index] + errors[windows + grid.merge_steps.index(begin)])
    unequal = np.tile(together, (len(grid.unequal_begin_steps), 1))
    assert beyond_equal(unequal, errors, grid, upper)[2] == pytest.approx(np.zeros(16))
    more = beyond_equal(unequal + 0.5, errors, grid, upper)[2]
    assert more == pytest.approx(np.full(16, 0.5))


def picture(grid: Grid, *, cost: float = 1e-4, jumps: float = 1.0, in_full: bool = True) -> PictureErrors:
    """One whose disturbances add up to what it costs together, those of jumps so many times dearer."""
    times = np.sqrt(np.where(kind_of_each(grid) == JUMP, jumps, 1.0) * cost)
    products = np.eye(disturbances(grid)) * times * times[:, None]
    joint_mse = joint_blocks(grid, products, ROWS, members=MEMBERS_MAX).sum(axis=(1, 2))
    measured = np.array([joint.for_all or in_full for joint in joints(grid)])
    return PictureErrors(
        single=Single(products_DD=products, energy_R=np.array([1.0, 2.0, 3.0, 0.0]) * cost) if in_full else None,
        joint_mse_J=np.where(measured, joint_mse, np.nan),
        low=-2.0,
        high=3.0,
    )


def diagonal(found: Calibration) -> np.ndarray:
    return np.array(found.products).reshape(found.size, -1).diagonal()


def test_one_touchy_picture_does_not_decide() -> None:
    grid = grid_of(8, DDIM)
    alike = sum_up([picture(grid)] * 4, grid, AS, members=MEMBERS_MAX)
    touchy = sum_up([*[picture(grid)] * 3, picture(grid, cost=1.0)], grid, AS, members=MEMBERS_MAX)
    for kind in (STALE, JUMP, UNEQUAL):
        of_kind = kind_of_each(grid) == kind
        assert diagonal(alike)[of_kind] == pytest.approx(np.full(of_kind.sum(), 1e-4), rel=0.1)
        # The geometric mean; the arithmetic one would be a quarter.
        assert diagonal(touchy)[of_kind] == pytest.approx(np.full(of_kind.sum(), 1e-3), rel=0.2)
    assert alike.row_weights == pytest.approx((1 / 3, 5 / 3, 5 / 3, 1 / 3))
    assert (alike.latent_range, alike.pictures) == (5.0, 4)
    assert (alike.sampler, alike.width_px, alike.guidance) == (TWO_M, 128, 4.0)


def test_further_pictures_move_the_level_and_say_how_touchy_they_are() -> None:
    grid = grid_of(8, DDIM)
    calm = [picture(grid, cost=1e-6, in_full=False)] * 2
    found = sum_up([*[picture(grid)] * 2, *calm], grid, AS, members=MEMBERS_MAX)
    assert diagonal(found) == pytest.approx(np.full(found.size, 1e-5), rel=0.2)
    touchiness = np.array(found.touchiness).reshape(-1, KINDS)
    assert touchiness[:, STALE] == pytest.approx([10**0.5, 10**0.5, 10**-0.5, 10**-0.5], rel=0.1)


def test_latents_that_are_all_alike_make_no_calibration_and_that_is_told() -> None:
    grid = grid_of(8, DDIM)
    blank = replace(picture(grid), low=0.5, high=0.5)
    with pytest.raises(PictureFailedError, match="2 pictures of 8 steps make no calibration: latent_range must be"):
        sum_up([blank] * 2, grid, AS, members=MEMBERS_MAX)


def test_pictures_that_are_touchy_to_jumps_are_so_to_nothing_else() -> None:
    grid = grid_of(20, DDIM)
    level = [picture(grid, jumps=jumps, in_full=False) for jumps in (1e-2, 1.0, 1.0, 1e2)]
    found = sum_up([picture(grid)] * 2 + level, grid, AS, members=MEMBERS_MAX)
    touchiness = np.array(found.touchiness).reshape(-1, KINDS)[2:]
    assert touchiness[-1, JUMP] / touchiness[0, JUMP] > 50
    assert touchiness[-1, STALE] / touchiness[0, STALE] < 1.5
