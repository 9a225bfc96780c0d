"""The one fine grid of a picture: timesteps and noise levels as plain float64 numbers.

Owns the reading of values from the schedulers of diffusers. Must not call their step methods, which cannot jump between
any two points, and must not touch a latent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.image import Sampler


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseLevel:
    """x = alpha * x0 + sigma * noise, with alpha^2 + sigma^2 = 1.

    Attributes:
        alpha: share of the clean picture.
        sigma: share of the noise.
    """

    alpha: float
    sigma: float

    @property
    def half_log_snr(self) -> float:
        """The lambda of DPM-Solver, log(alpha / sigma) (Lu et al. 2022); infinite at either end."""
        if self.sigma == 0.0:
            return math.inf
        return math.log(self.alpha) - math.log(self.sigma) if self.alpha else -math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Points ``0 .. steps`` from pure noise to the clean picture.

    The DDIM of diffusers steps to ``t - T // steps``, which lies beside the next timestep where the spacing is not
    "leading". So the level at which a step arrives at a point and the one that the model is told there may differ.
    Each depends on the point alone, hence a jump over several points is as well defined as a single step.

    Attributes:
        timesteps: what the model is told at each point but the last, descending.
        departures: noise level that belongs to each of these timesteps.
        arrivals: noise level of x on arrival at each point ``0 .. steps``; that of point 0 is the initial noise.
    """

    timesteps: tuple[int, ...]
    departures: tuple[NoiseLevel, ...]
    arrivals: tuple[NoiseLevel, ...]

    def __post_init__(self) -> None:
        if not len(self.timesteps) == len(self.departures) == len(self.arrivals) - 1 > 0:
            raise ValueError(
                f"grid has {len(self.timesteps)} timesteps, {len(self.departures)} departures "
                f"and {len(self.arrivals)} arrivals"
            )
        for levels in (self.departures, self.arrivals):
            if any(before.half_log_snr > after.half_log_snr for before, after in pairwise(levels)):
                raise ValueError(f"noise rises: lambda = {[level.half_log_snr for level in levels]}")

    @property
    def steps(self) -> int:
        """Index of the clean picture."""
        return len(self.timesteps)


def ddim_grid(scheduler: DDIMScheduler, steps: int) -> Grid:
    """The points that the DDIM of diffusers visits in so many steps (Song et al. 2021).

    Raises:
        InvalidArgumentError: the schedule has not so many points.
    """
    timesteps = _timesteps(scheduler, steps, Sampler.DDIM)
    cumulative = [float(value) for value in scheduler.alphas_cumprod.double()]
    stride = scheduler.config["num_train_timesteps"] // steps
    before = [t - stride for t in timesteps]
    arrivals = [cumulative[t] if t >= 0 else float(scheduler.final_alpha_cumprod) for t in before]
    departures = [_level_from_cumulative(cumulative[t]) for t in timesteps]
    return Grid(
        timesteps=tuple(timesteps),
        departures=tuple(departures),
        arrivals=(departures[0], *map(_level_from_cumulative, arrivals)),
    )


def dpm_solver_grid(scheduler: DPMSolverMultistepScheduler, steps: int) -> Grid:
    """The points that the DPM-Solver++ of diffusers visits in so many steps, whatever spacing its config names.

    Raises:
        InvalidArgumentError: the schedule has not so many points, or two of them at one noise level.
    """
    timesteps = _timesteps(scheduler, steps, Sampler.DPM_SOLVER_PP_2M)
    sigmas = [float(value) for value in scheduler.sigmas.double()]
    levels = [_level_from_ratio(value) for value in (*sigmas[:steps], sigmas[-1])]
    # The solver divides by differences of lambda.
    if len({level.half_log_snr for level in levels}) != len(levels):
        raise InvalidArgumentError.of(
            "steps", f"the model's schedule has not {steps} different noise levels for {Sampler.DPM_SOLVER_PP_2M}"
        )
    return Grid(timesteps=tuple(timesteps), departures=tuple(levels[:-1]), arrivals=tuple(levels))


def _timesteps(scheduler: DDIMScheduler | DPMSolverMultistepScheduler, steps: int, sampler: Sampler) -> list[int]:
    trained = scheduler.config["num_train_timesteps"]
    if steps > trained:
        raise InvalidArgumentError.of("steps", f"the model's schedule has {trained} timesteps, got {steps} steps")
    scheduler.set_timesteps(steps)
    # With "trailing" spacing diffusers sometimes appends a point at -1, by a rounding error of its range.
    timesteps = [int(t) for t in scheduler.timesteps[:steps]]
    if not 0 <= timesteps[-1] <= timesteps[0] < trained:
        raise InvalidArgumentError.of("steps", f"{steps} steps of {sampler} leave the model's {trained} timesteps")
    return timesteps


def _level_from_cumulative(alpha_squared: float) -> NoiseLevel:
    return NoiseLevel(alpha=math.sqrt(alpha_squared), sigma=math.sqrt(1.0 - alpha_squared))


def _level_from_ratio(sigma_over_alpha: float) -> NoiseLevel:
    alpha = 1.0 / math.sqrt(1.0 + sigma_over_alpha**2)
    return NoiseLevel(alpha=alpha, sigma=sigma_over_alpha * alpha)
