"""Which plans measure what, and what is made of the errors."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from polyrhythm.calibration import saturated
from polyrhythm.plan import Exchange
from polyrhythm_agent.calibration.interaction import fit_interaction, joint_products, jump_exposures
from polyrhythm_agent.calibration.measure import PictureErrors, beyond_equal, level_of_each, probe_count, sum_up
from polyrhythm_agent.calibration.probes import (
    BODY_LEVEL,
    FIRST_LEVEL,
    LEVEL_JOINTS,
    STALE_LEVEL,
    UNIFORM,
    Grid,
    grid_of,
    joint_probes,
    joints,
    merge_probes,
    reference_plan,
    stale_probes,
    unequal_probes,
)

TWO_M, DDIM = "dpmpp-2m", "ddim"


def disturbances(grid: Grid) -> int:
    parts = (grid.stale_begin_steps, grid.merge_steps, grid.following_steps, grid.unequal_begin_steps)
    return sum(map(len, parts))


@pytest.mark.parametrize("sampler", [TWO_M, DDIM])
@pytest.mark.parametrize("steps", [8, 9, 20, 25, 50, 100])
def test_windows_and_places_cover_the_grid(steps: int, sampler: str) -> None:
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
    assert probe_count(grid) == single + len(joints(grid))
    assert probe_count(grid, full=False) == len(LEVEL_JOINTS)


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
def test_a_probe_of_jumps_jumps_where_it_says(steps: int, sampler: str) -> None:
    grid = grid_of(steps, sampler)
    for wanted, plan in zip(grid.jump_steps, merge_probes(grid, 16), strict=True):
        jumps = [step for s in plan.segments if s.strides == (2,) for step in range(s.begin_step, s.end_step, 2)]
        assert tuple(jumps) == wanted
        assert plan.begin_step == wanted[0]
    for step in grid.following_steps:
        assert {(step,), (step - 2,), (step - 2, step)} <= set(grid.jump_steps)


def test_joint_probes_hold_what_they_say() -> None:
    grid = grid_of(20, TWO_M)
    for joint, plan in zip(joints(grid), joint_probes(grid, 16), strict=True):
        displaced = [s for s in plan.segments if s.exchange is Exchange.DISPLACED]
        if joint.stale:
            assert [(s.begin_step, s.end_step, s.strides) for s in displaced] == [(4, 20, joint.strides)]
        else:
            assert tuple(step for s in displaced for step in range(s.begin_step, s.end_step, 2)) == joint.merges


def test_the_reference_has_a_boundary_after_every_step() -> None:
    assert [beat.end_step for beat in reference_plan(9, 4).beats()] == list(range(1, 10))


def test_a_jump_after_a_jump_is_exposed_to_what_both_leave_beyond_themselves() -> None:
    grid = grid_of(20, TWO_M)
    products = np.eye(disturbances(grid))
    windows, places = len(grid.stale_begin_steps), len(grid.merge_steps)
    found = jump_exposures(grid, products, (4, 6, 10))
    assert np.flatnonzero(found).tolist() == [windows + 2, windows + 3, windows + 5, windows + places + 2]
    alone = jump_exposures(grid_of(20, DDIM), products, (4, 6))
    assert np.flatnonzero(alone).tolist() == [windows + 2, windows + 3]


@pytest.mark.parametrize(
    ("jump", "stale", "unequal"), [(1.0, 1.0, 1.0), (1.0, 10**0.1, 10**0.5), (10**0.2, 10**0.1, 10**0.3)]
)
def test_the_law_of_disturbances_together_is_found_again(jump: float, stale: float, unequal: float) -> None:
    grid = grid_of(20, TWO_M)
    products = np.diag(np.linspace(1e-4, 3e-4, disturbances(grid)))
    times = np.array([jump, stale, unequal])
    sums = (times @ joint_products(grid, products) @ times).tolist()
    found = fit_interaction(grid, products, [saturated(value, 0.01) for value in sums])
    assert (found.jump_times, found.stale_times, found.unequal_times) == pytest.approx((jump, stale, unequal))
    assert found.saturation_mse == pytest.approx(0.01)
    unsaturated = fit_interaction(grid, products, sums)
    assert unsaturated.saturation_mse > 1e3
    weights = found.counts(grid, len(products))
    assert (weights[0], weights[len(grid.stale_begin_steps)], weights[-1]) == pytest.approx((stale, jump, unequal))


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


def picture(cost: float, grid: Grid) -> PictureErrors:
    """One whose disturbances add up to what it costs together."""
    products = np.eye(disturbances(grid))
    return PictureErrors(
        products_DD=products * cost,
        energy_R=np.array([1.0, 2.0, 3.0, 0.0]) * cost,
        joint_mse_J=joint_products(grid, products).sum(axis=(1, 2)) * cost,
        low=-2.0,
        high=3.0,
    )


def test_one_touchy_picture_does_not_decide() -> None:
    grid = grid_of(8, DDIM)
    place = len(grid.stale_begin_steps) * (disturbances(grid) + 1)
    alike = sum_up([picture(1e-4, grid)] * 4, [], grid, DDIM)
    touchy = sum_up([*[picture(1e-4, grid)] * 3, picture(1.0, grid)], [], grid, DDIM)
    assert alike.products[place] == pytest.approx(1e-4)
    assert touchy.products[place] == pytest.approx(1e-3)  # the geometric mean; the arithmetic one would be a quarter
    assert alike.row_weights == pytest.approx((1 / 3, 5 / 3, 5 / 3, 1 / 3))
    assert (alike.latent_range, alike.pictures) == (5.0, 4)


def test_further_pictures_move_the_level_and_nothing_else() -> None:
    grid = grid_of(8, DDIM)
    place = len(grid.stale_begin_steps) * (disturbances(grid) + 1)
    full = [picture(1e-4, grid)] * 2
    calm = [picture(1e-6, grid).joint_mse_J[list(LEVEL_JOINTS)]] * 2
    found = sum_up(full, calm, grid, DDIM)
    assert found.products[place] == pytest.approx(1e-5)
    assert found.pictures == 4
    assert found.row_weights == sum_up(full, [], grid, DDIM).row_weights


def test_a_level_moves_the_disturbances_of_its_kind() -> None:
    grid = grid_of(20, TWO_M)
    found = level_of_each(grid, {STALE_LEVEL: 2.0, FIRST_LEVEL: 3.0, BODY_LEVEL: 5.0, UNIFORM: 7.0}).tolist()
    windows, places = len(grid.stale_begin_steps), len(grid.merge_steps)
    assert grid.merge_steps[:3] == (0, 2, 4)
    assert found[:windows] == [2.0] * windows
    assert found[windows : windows + places] == [3.0, 3.0, *[5.0] * (places - 2)]
    assert found[windows + places :] == [5.0] * len(grid.following_steps) + [2.0] * len(grid.unequal_begin_steps)


def test_pictures_that_are_touchy_to_first_steps_alone_move_those() -> None:
    grid = grid_of(20, DDIM)
    full = [picture(1e-4, grid)] * 2
    touchy = picture(1e-4, grid).joint_mse_J[list(LEVEL_JOINTS)] * [1.0, 1.0, 1e4, 1.0]
    plain, found = (
        np.array(sum_up(full, further, grid, DDIM).products).reshape(disturbances(grid), -1).diagonal()
        for further in ([], [touchy] * 2)
    )
    first = len(grid.stale_begin_steps)
    times = (found / plain)[first : first + 4]
    assert times / times[-1] == pytest.approx([100.0, 100.0, 1.0, 1.0])
