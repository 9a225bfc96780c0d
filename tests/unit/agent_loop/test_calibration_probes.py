"""Which plans measure what, and what is made of the errors."""

from __future__ import annotations

import numpy as np
import pytest

from polyrhythm.calibration import saturated
from polyrhythm.plan import Exchange
from polyrhythm_agent.calibration.interaction import FOLLOWING_MAX, fit_interaction, followings
from polyrhythm_agent.calibration.measure import PictureErrors, joint_sums, probe_count, sum_up
from polyrhythm_agent.calibration.probes import grid_of, joint_probes, reference_plan, single_probes


@pytest.mark.parametrize("steps", [8, 9, 20, 25, 50, 100])
def test_windows_and_places_cover_the_grid(steps: int) -> None:
    grid = grid_of(steps)
    windows = [grid.window(index) for index in range(len(grid.stale_begin_steps))]
    assert [begin for begin, _ in windows[1:]] == [end for _, end in windows[:-1]]
    assert (windows[0][0], windows[-1][1]) == (1, steps)
    assert all(b - a >= 2 for a, b in zip(grid.merge_steps, grid.merge_steps[1:], strict=False))
    assert grid.merge_steps[-1] <= steps - 2
    assert probe_count(grid) == len(windows) + len(grid.merge_steps) + 4


def test_a_grid_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 steps"):
        grid_of(7)


def test_a_single_probe_holds_one_disturbance_and_begins_where_it_must() -> None:
    grid = grid_of(20)
    probes = single_probes(grid, 15)
    assert [probe.disturbances for probe in probes] == [(index,) for index in range(len(probes))]
    for index, probe in enumerate(probes):
        displaced = [s for s in probe.plan.segments if s.exchange is Exchange.DISPLACED]
        assert len(displaced) == 1
        assert probe.plan.steps == 20
        if index < len(grid.stale_begin_steps):
            assert (displaced[0].begin_step, displaced[0].end_step) == grid.window(index)
            assert probe.plan.begin_step == displaced[0].begin_step - 1
            assert [a.rows.count for a in displaced[0].assignments] == [8, 7]
        else:
            assert displaced[0].begin_step == probe.plan.begin_step
            assert (displaced[0].step_count, displaced[0].strides) == (2, (2,))


def test_joint_probes_hold_what_they_say() -> None:
    grid = grid_of(20)
    displaced, *spreads = joint_probes(grid, 16)
    assert displaced.disturbances == tuple(range(1, len(grid.stale_begin_steps)))
    for probe in spreads:
        merged = [s.begin_step for s in probe.plan.segments if s.strides == (2,)]
        places = [grid.merge_steps[index - len(grid.stale_begin_steps)] for index in probe.disturbances]
        assert merged == places


def test_the_reference_has_a_boundary_after_every_step() -> None:
    assert [beat.end_step for beat in reference_plan(9, 4).beats()] == list(range(1, 10))


def test_the_law_of_saturation_is_found_again() -> None:
    sums = [1e-4, 1e-3, 1e-2, 1e-1]
    found, following = fit_interaction({1.0: sums}, [saturated(value, 0.02) for value in sums])
    assert (found, following) == (pytest.approx(0.02, rel=0.06), 1.0)
    assert fit_interaction({1.0: sums}, sums)[0] > 1e3


def test_the_cost_of_merges_that_follow_one_another_is_found_again() -> None:
    grid = grid_of(20)
    products = np.diag(np.linspace(1e-4, 3e-4, len(grid.stale_begin_steps) + len(grid.merge_steps)))
    sums = {following: joint_sums(products, grid, following) for following in followings("dpmpp-2m")}
    measured = [saturated(value, 0.02) for value in sums[FOLLOWING_MAX]]
    assert fit_interaction(sums, measured) == (pytest.approx(0.02, rel=0.06), FOLLOWING_MAX)
    assert followings("ddim") == (1.0,)


def test_one_touchy_picture_does_not_decide() -> None:
    grid = grid_of(8)
    size = len(grid.stale_begin_steps) + len(grid.merge_steps)

    def picture(cost: float) -> PictureErrors:
        return PictureErrors(
            products_DD=np.eye(size) * cost,
            energy_R=np.array([1.0, 2.0, 3.0, 0.0]) * cost,
            joint_mse_J=np.array([3.0, 3.0, 2.0, 2.0]) * cost,
            low=-2.0,
            high=3.0,
        )

    alike = sum_up([picture(1e-4)] * 4, grid, "ddim")
    touchy = sum_up([*[picture(1e-4)] * 3, picture(1.0)], grid, "ddim")
    assert alike.products[0] == pytest.approx(1e-4)
    assert touchy.products[0] == pytest.approx(1e-3)  # the geometric mean; the arithmetic one would be a quarter
    assert alike.row_weights == pytest.approx((1 / 3, 5 / 3, 5 / 3, 1 / 3))
    assert (alike.latent_range, alike.pictures) == (5.0, 4)
