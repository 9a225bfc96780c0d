"""The fine grid reads diffusers' schedules as they are, and refuses those that have no such grid."""

from __future__ import annotations

import math
from typing import Any

import pytest
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_agent.denoiser.sampling.grid import Grid, NoiseLevel, ddim_grid, dpm_solver_grid, euler_grid


def test_dpm_solver_points_are_the_schedulers() -> None:
    scheduler = DPMSolverMultistepScheduler()
    grid = dpm_solver_grid(scheduler, 20)
    assert grid.steps == 20
    assert grid.timesteps == tuple(int(t) for t in scheduler.timesteps)
    for level, sigma in zip((*grid.departures, grid.arrivals[-1]), scheduler.sigmas.tolist(), strict=True):
        assert level.alpha**2 + level.sigma**2 == pytest.approx(1.0, abs=1e-15)
        assert level.sigma == pytest.approx(sigma * level.alpha, abs=1e-15)
    assert grid.arrivals[:-1] == grid.departures
    assert grid.arrivals[-1] == NoiseLevel(alpha=1.0, sigma=0.0)
    assert grid.arrivals[-1].half_log_snr == math.inf


def test_final_sigma_follows_the_config() -> None:
    scheduler = DPMSolverMultistepScheduler(final_sigmas_type="sigma_min")
    first = float(scheduler.alphas_cumprod[0])
    assert dpm_solver_grid(scheduler, 20).arrivals[-1].sigma == pytest.approx(math.sqrt(1 - first), rel=1e-6)


def test_ddim_arrives_where_diffusers_arrives() -> None:
    scheduler = DDIMScheduler(timestep_spacing="linspace")
    grid = ddim_grid(scheduler, 20)
    cumulative = scheduler.alphas_cumprod.double().tolist()
    for t, arrival in zip(grid.timesteps[:-1], grid.arrivals[1:-1], strict=True):
        assert arrival.alpha == math.sqrt(cumulative[int(t) - 1000 // 20])
    assert grid.arrivals[-1] == NoiseLevel(alpha=1.0, sigma=0.0)


def test_leading_ddim_departs_where_it_arrived() -> None:
    grid = ddim_grid(DDIMScheduler(), 50)
    assert grid.arrivals[:-1] == grid.departures


def test_ddim_may_end_at_the_first_trained_level() -> None:
    grid = ddim_grid(DDIMScheduler(set_alpha_to_one=False), 20)
    # Timestep 0 is on a leading grid: as in diffusers, the last step then moves nothing.
    assert grid.arrivals[-1] == grid.departures[-1]


@pytest.mark.parametrize("steps", [61, 122, 998])
def test_trailing_spacing_drops_the_point_that_rounding_adds(steps: int) -> None:
    for grid in (
        ddim_grid(DDIMScheduler(timestep_spacing="trailing"), steps),
        dpm_solver_grid(DPMSolverMultistepScheduler(timestep_spacing="trailing"), steps),
    ):
        assert grid.steps == steps
        assert grid.timesteps[-1] >= 0


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize("steps", [1, 2, 7, 20, 50, 333])
def test_noise_falls_on_every_grid(spacing: str, steps: int) -> None:
    for grid in (
        ddim_grid(DDIMScheduler(timestep_spacing=spacing), steps),  # pyright: ignore[reportArgumentType]
        dpm_solver_grid(DPMSolverMultistepScheduler(timestep_spacing=spacing), steps),  # pyright: ignore[reportArgumentType]
    ):
        assert grid.steps == steps


def test_more_steps_than_the_schedule_has_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="steps: the model's schedule has 1000 timesteps, got 1001"):
        ddim_grid(DDIMScheduler(), 1001)
    with pytest.raises(InvalidArgumentError, match="steps: the model's schedule has 100 timesteps"):
        dpm_solver_grid(DPMSolverMultistepScheduler(num_train_timesteps=100), 101)


def test_equal_noise_levels_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"steps: .* not 1000 different noise levels for dpmpp-2m"):
        dpm_solver_grid(DPMSolverMultistepScheduler(), 1000)


@pytest.mark.parametrize("steps", [4, 10, 20])
def test_a_final_level_that_repeats_the_last_one_but_for_rounding_is_no_rise(steps: int) -> None:
    options: Any = {
        "beta_schedule": "scaled_linear",
        "final_sigmas_type": "sigma_min",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "linspace",
    }
    euler = EulerDiscreteScheduler(use_karras_sigmas=True, interpolation_type="log_linear", **options)
    assert euler_grid(euler, steps).steps == steps
    with pytest.raises(InvalidArgumentError, match=r"steps: .* different noise levels"):
        dpm_solver_grid(DPMSolverMultistepScheduler(use_lu_lambdas=True, **options), steps)


def test_steps_off_the_schedule_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="steps: 1000 steps leave"):
        ddim_grid(DDIMScheduler(steps_offset=1), 1000)


def test_a_grid_of_unequal_lengths_is_no_grid() -> None:
    level = NoiseLevel(alpha=0.6, sigma=0.8)
    with pytest.raises(ValueError, match="1 timesteps, 1 departures and 1 arrivals"):
        Grid(timesteps=(1,), departures=(level,), arrivals=(level,))
