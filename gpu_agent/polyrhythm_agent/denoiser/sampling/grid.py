"""The one fine grid of a picture: timesteps and noise levels as plain float64 numbers.

Owns the reading of values from the schedulers of diffusers. Must not call their step methods, which cannot jump between
any two points, and must not touch a latent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
)
from diffusers.schedulers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.model.request_choices import Sampler

ROUNDING = 1e-6
"""Of a lambda: diffusers computes its schedules in fp32, so two ways to write one noise level may differ by so much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseLevel:
    """x = alpha * x0 + sigma * noise, with alpha^2 + sigma^2 = 1; alpha + sigma = 1 in flow matching.

    Where a model is shown what is divided by the deviation of noise and data together, it is (alpha d)^2 + sigma^2 = 1
    for data of deviation d (Karras et al. 2022).

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


CLEAN = NoiseLevel(alpha=1.0, sigma=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Points ``0 .. steps`` from pure noise to the clean picture.

    The DDIM of diffusers steps to ``t - T // steps``, which lies beside the next timestep where the spacing is not
    "leading". So the level at which a step arrives at a point and the one that the model is told there may differ.
    Each depends on the point alone, hence a jump over several points is as well defined as a single step.

    Attributes:
        timesteps: what the model is told at each point but the last, descending; integers wherever all of them are
            whole, since a model may look them up in a table.
        departures: noise level that belongs to each of these timesteps.
        arrivals: noise level of x on arrival at each point ``0 .. steps``; that of point 0 is the initial noise.
        initial_scale: of the unit noise that x begins with. Pure noise at level 0 would be its sigma; some samplers
            of diffusers begin with a little more.
    """

    timesteps: tuple[float, ...]
    departures: tuple[NoiseLevel, ...]
    arrivals: tuple[NoiseLevel, ...]
    initial_scale: float = 1.0

    def __post_init__(self) -> None:
        if not len(self.timesteps) == len(self.departures) == len(self.arrivals) - 1 > 0:
            raise ValueError(
                f"grid has {len(self.timesteps)} timesteps, {len(self.departures)} departures "
                f"and {len(self.arrivals)} arrivals"
            )
        for levels in (self.departures, self.arrivals):
            if any(before.half_log_snr > after.half_log_snr + ROUNDING for before, after in pairwise(levels)):
                raise ValueError(f"noise rises: lambda = {[level.half_log_snr for level in levels]}")

    @property
    def steps(self) -> int:
        """Index of the clean picture."""
        return len(self.timesteps)

    def ending_clean(self) -> Grid:
        """The same points, the last one at no noise."""
        return replace(self, arrivals=(*self.arrivals[:-1], CLEAN))


def ddim_grid(scheduler: DDIMScheduler, steps: int) -> Grid:
    """The points that the DDIM of diffusers visits in so many steps (Song et al. 2021).

    Raises:
        InvalidArgumentError: the schedule has not so many points.
    """
    timesteps = _whole_timesteps(scheduler, steps)
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
    timesteps = _whole_timesteps(scheduler, steps)
    sigmas = [float(value) for value in scheduler.sigmas.double()]
    levels = [_level_from_ratio(value) for value in (*sigmas[:steps], sigmas[-1])]
    # The solver divides by differences of lambda. A final sigma that repeats the last one may be off by rounding.
    if any(after.half_log_snr - before.half_log_snr <= ROUNDING for before, after in pairwise(levels)):
        raise InvalidArgumentError.of(
            "steps", f"the model's schedule has not {steps} different noise levels for {Sampler.DPM_SOLVER_PP_2M}"
        )
    return Grid(timesteps=tuple(timesteps), departures=tuple(levels[:-1]), arrivals=tuple(levels))


def euler_grid(scheduler: EulerDiscreteScheduler | EulerAncestralDiscreteScheduler, steps: int) -> Grid:
    """The points that an Euler scheduler of diffusers visits in so many steps (Karras et al. 2022, algorithm 1).

    Diffusers keeps x0 + s * noise; here it is divided by sqrt(1 + s^2), as it is for the model. The last point alone
    stays as diffusers leaves it, which matters only where the config ends above no noise.

    Raises:
        InvalidArgumentError: the schedule has not so many points, or its noise does not fall from each to the next.
    """
    timesteps, sigmas = _set_timesteps(scheduler, steps)
    # "log_linear" sigmas have one more than there are steps, besides the final one, which is then never reached.
    last = sigmas[len(timesteps)]
    # With "trailing" spacing diffusers sometimes appends a point at -1, by a rounding error of its range.
    timesteps, sigmas = timesteps[:steps], sigmas[:steps]
    _check_falling(sigmas, steps)
    _check_trained(timesteps, steps, scheduler)
    levels = [_level_from_ratio(value) for value in sigmas]
    return Grid(
        timesteps=_whole_if_all_are(timesteps),
        departures=tuple(levels),
        arrivals=(*levels, NoiseLevel(alpha=1.0, sigma=last)),
        initial_scale=_initial_scale(scheduler.config["timestep_spacing"], sigmas[0]),
    )


def _initial_scale(spacing: str, sigma: float) -> float:
    """``init_noise_sigma`` of diffusers' Euler schedulers, over sqrt(1 + s^2); in fp64, where diffusers has fp32.

    With "leading" spacing they begin as if the picture were nothing but as large as the noise.
    """
    return 1.0 if spacing == "leading" else sigma / math.sqrt(1.0 + sigma**2)


def edm_grid(scheduler: EDMEulerScheduler | EDMDPMSolverMultistepScheduler, steps: int) -> Grid:
    """The points that the EDM schedulers of diffusers visit in so many steps (Karras et al. 2022).

    The model is told 0.25 * log(s), and shown x0 + s * noise divided by the deviation of both together.

    Raises:
        InvalidArgumentError: the noise does not fall from each point to the next.
    """
    timesteps, sigmas = _set_timesteps(scheduler, steps)
    *visited, last = sigmas
    _check_falling(visited, steps)
    data = float(scheduler.config["sigma_data"])
    departures = [_level_beside_data(value, data) for value in visited]
    end = NoiseLevel(alpha=1.0, sigma=last)
    return Grid(
        timesteps=tuple(timesteps),
        departures=tuple(departures),
        arrivals=(*departures, end),
        initial_scale=float(scheduler.init_noise_sigma) / math.hypot(visited[0], data),
    )


def consistency_grid(scheduler: LCMScheduler | TCDScheduler, steps: int) -> Grid:
    """The points that the LCM or TCD of diffusers visits in so many steps: some of those that models were distilled at.

    LCM ends at the clean picture (Luo et al. 2023), TCD at the first trained timestep (Zheng et al. 2024).

    Raises:
        InvalidArgumentError: the model was distilled at fewer points.
    """
    distilled = scheduler.config["original_inference_steps"]
    if steps > distilled:
        raise InvalidArgumentError.of("steps", f"the model was distilled at {distilled} timesteps, got {steps} steps")
    timesteps = _whole_timesteps(scheduler, steps)
    cumulative = [float(value) for value in scheduler.alphas_cumprod.double()]
    departures = [_level_from_cumulative(cumulative[t]) for t in timesteps]
    ends_clean = isinstance(scheduler, LCMScheduler)
    end = CLEAN if ends_clean else _level_from_cumulative(cumulative[0])
    return Grid(timesteps=tuple(timesteps), departures=tuple(departures), arrivals=(*departures, end))


def flow_grid(scheduler: FlowMatchEulerDiscreteScheduler, steps: int, image_tokens: int | None = None) -> Grid:
    """The points that the flow-matching Euler of diffusers visits in so many steps (Esser et al. 2024).

    Args:
        scheduler: whose shift, dynamic shift and spacing count.
        steps: fine steps.
        image_tokens: of the whole picture, whoever computes which rows of it; only a dynamic shift asks for it.

    Raises:
        InvalidArgumentError: the schedule has not so many points, or its noise does not fall from each to the next.
        ValueError: the shift is dynamic and there is no number of tokens.
    """
    timesteps, sigmas = _set_timesteps(scheduler, steps, mu=_dynamic_shift(scheduler, image_tokens))
    _check_falling(sigmas, steps)
    levels = [NoiseLevel(alpha=1.0 - value, sigma=value) for value in sigmas]
    return Grid(timesteps=_whole_if_all_are(timesteps), departures=tuple(levels[:-1]), arrivals=tuple(levels))


def _dynamic_shift(scheduler: FlowMatchEulerDiscreteScheduler, image_tokens: int | None) -> float | None:
    """The mu of a dynamic shift: linear in the picture's tokens, through the two points that the config names."""
    config = scheduler.config
    if not config["use_dynamic_shifting"]:
        return None
    if image_tokens is None:
        raise ValueError("a dynamic shift needs the number of tokens of the whole picture")
    few, many = config["base_image_seq_len"], config["max_image_seq_len"]
    slope = (config["max_shift"] - config["base_shift"]) / (many - few)
    return slope * image_tokens + (config["base_shift"] - slope * few)


def _set_timesteps(scheduler: Any, steps: int, **options: Any) -> tuple[list[float], list[float]]:
    """The scheduler's own timesteps and sigmas; of DDIM, which has no sigmas, none."""
    trained = scheduler.config["num_train_timesteps"]
    if steps > trained:
        raise InvalidArgumentError.of("steps", f"the model's schedule has {trained} timesteps, got {steps} steps")
    scheduler.set_timesteps(steps, **options)
    return [float(t) for t in scheduler.timesteps], [float(value) for value in getattr(scheduler, "sigmas", ())]


def _check_trained(timesteps: Sequence[float], steps: int, scheduler: Any) -> None:
    trained = scheduler.config["num_train_timesteps"]
    if not 0 <= timesteps[-1] <= timesteps[0] < trained:
        raise InvalidArgumentError.of("steps", f"{steps} steps leave the model's {trained} timesteps")


def _check_falling(sigmas: Sequence[float], steps: int) -> None:
    if not (all(map(math.isfinite, sigmas)) and all(before > after for before, after in pairwise(sigmas))):
        raise InvalidArgumentError.of("steps", f"the model's schedule has not {steps} different noise levels")


def _whole_if_all_are(timesteps: Sequence[float]) -> tuple[float, ...]:
    return tuple(map(int, timesteps)) if all(t.is_integer() for t in timesteps) else tuple(timesteps)


def _whole_timesteps(scheduler: Any, steps: int) -> list[int]:
    # With "trailing" spacing diffusers sometimes appends a point at -1, by a rounding error of its range.
    timesteps = [int(t) for t in _set_timesteps(scheduler, steps)[0][:steps]]
    _check_trained(timesteps, steps, scheduler)
    return timesteps


def _level_from_cumulative(alpha_squared: float) -> NoiseLevel:
    return NoiseLevel(alpha=math.sqrt(alpha_squared), sigma=math.sqrt(1.0 - alpha_squared))


def _level_beside_data(sigma: float, data_deviation: float) -> NoiseLevel:
    both = math.hypot(sigma, data_deviation)
    return NoiseLevel(alpha=1.0 / both, sigma=sigma / both)


def _level_from_ratio(sigma_over_alpha: float) -> NoiseLevel:
    alpha = 1.0 / math.sqrt(1.0 + sigma_over_alpha**2)
    return NoiseLevel(alpha=alpha, sigma=sigma_over_alpha * alpha)
