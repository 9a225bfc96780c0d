"""How a model may be sampled: its scheduler config, read once and checked, and the updates of one picture.

Owns the reading of diffusers' scheduler configs. What a config asks for is done exactly or refused; nothing is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from polyrhythm.image import Sampler
from polyrhythm_agent.denoiser import samplers
from polyrhythm_agent.denoiser.grid import Grid, ddim_grid, dpm_solver_grid
from polyrhythm_agent.denoiser.samplers import PredictionKind, SecondOrder
from polyrhythm_agent.errors import ModelFolderError

OWN_SAMPLER_BY_CLASS = {
    "DPMSolverMultistepScheduler": Sampler.DPM_SOLVER_PP_2M,
    "DDIMScheduler": Sampler.DDIM,
    "DDPMScheduler": Sampler.DDIM,  # its schedule with the deterministic update; DDPM's own draws noise each step
}
"""The sampler that is the model's default, by the scheduler class that its folder names."""

RESPACED = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas")
FEW_STEPS = 15
"""Below so many steps ``lower_order_final`` means something, as in diffusers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSampling:
    """The sampler of one picture: a grid and the update between any two of its points.

    Attributes:
        sampler: update rule.
        grid: of the picture.
        prediction: what the model predicts.
        clip: bound of predicted clean latents, or None.
        second_order: weight of the difference in DPM-Solver++ 2M.
        first_order_last: whether the jump to the clean picture is first order.
        latent_rows_per_unit: latent rows of one row unit.
    """

    sampler: Sampler
    grid: Grid
    prediction: PredictionKind
    clip: float | None
    second_order: SecondOrder
    first_order_last: bool
    latent_rows_per_unit: int

    def advance(
        self,
        x_BCHW: Tensor,
        prediction_BCHW: Tensor,
        step: int,
        next_step: int,
        history_x0_BCHW: Tensor,
        history_steps: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        """One update; arguments and result as in ``DenoiserRun.advance``."""
        if not 0 <= step < next_step <= self.grid.steps or any(k >= step for k in history_steps):
            raise ValueError(f"no update from {step} to {next_step} of {self.grid.steps} with history {history_steps}")
        source, target = self.grid.departures[step], self.grid.arrivals[next_step]
        x0_BCHW = samplers.clean_picture(self.prediction, x_BCHW, prediction_BCHW, source)
        if self.clip is not None:
            x0_BCHW = x0_BCHW.clamp(-self.clip, self.clip)
        match self.sampler:
            case Sampler.DDIM:
                noise_BCHW = samplers.noise(self.prediction, x_BCHW, prediction_BCHW, source)
                return samplers.ddim(x0_BCHW, noise_BCHW, target), x0_BCHW
            case Sampler.DPM_SOLVER_PP_2M:
                first_order = self.first_order_last and next_step == self.grid.steps
                lambda_U = [
                    None if first_order or k < 0 else self.grid.departures[k].half_log_snr for k in history_steps
                ]
                next_BCHW = samplers.dpm_solver_pp_2m(
                    x_BCHW,
                    x0_BCHW,
                    source,
                    target,
                    history_x0_BCHW,
                    lambda_U,
                    latent_rows_per_unit=self.latent_rows_per_unit,
                    second_order=self.second_order,
                )
                return next_BCHW, x0_BCHW
            case _:
                assert_never(self.sampler)


class ModelSampling:
    """The samplers that a model's scheduler config allows.

    Raises:
        ModelFolderError: the config names a scheduler or an option that this project does not have.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        name = config.get("_class_name", "")
        own = OWN_SAMPLER_BY_CLASS.get(name)
        if own is None:
            raise ModelFolderError(f"scheduler: {name!r} is not one of {', '.join(sorted(OWN_SAMPLER_BY_CLASS))}")
        self._config = {key: value for key, value in config.items() if key != "_use_default_values"}
        objections = {sampler: _objections(sampler, self._config) for sampler in Sampler}
        if objections[own]:
            raise ModelFolderError(f"scheduler: {name} with {', '.join(objections[own])} is not supported")
        self.samplers: tuple[Sampler, ...] = (own, *(s for s in Sampler if s is not own and not objections[s]))
        """What may be asked for, the model's own first."""

    def start(self, sampler: Sampler, steps: int, latent_rows_per_unit: int) -> PictureSampling:
        """The sampler of one picture.

        Raises:
            InvalidArgumentError: the schedule has not so many steps.
        """
        clip: float | None = None
        first_order_last = False
        second_order = SecondOrder.MIDPOINT
        match sampler:
            case Sampler.DDIM:
                ddim = _ddim_scheduler(self._config)
                grid = ddim_grid(ddim, steps)
                clip = ddim.config["clip_sample_range"] if ddim.config["clip_sample"] else None
                prediction = PredictionKind(ddim.config["prediction_type"])
            case Sampler.DPM_SOLVER_PP_2M:
                solver = DPMSolverMultistepScheduler.from_config(self._config)
                grid = dpm_solver_grid(solver, steps)
                second_order = SecondOrder(solver.config["solver_type"])
                first_order_last = _is_first_order_last(solver.config, steps)
                prediction = PredictionKind(solver.config["prediction_type"])
            case _:
                assert_never(sampler)
        return PictureSampling(
            sampler=sampler,
            grid=grid,
            prediction=prediction,
            clip=clip,
            second_order=second_order,
            first_order_last=first_order_last,
            latent_rows_per_unit=latent_rows_per_unit,
        )


def _ddim_scheduler(config: dict[str, Any]) -> DDIMScheduler:
    # DDIM clips to [-1, 1] unless told otherwise, which is meant for pixels; a solver's config never asks for it.
    unclipped = OWN_SAMPLER_BY_CLASS[config["_class_name"]] is not Sampler.DDIM and "clip_sample" not in config
    scheduler: Any = DDIMScheduler.from_config(config, **({"clip_sample": False} if unclipped else {}))
    return scheduler


def _is_first_order_last(config: Mapping[str, Any], steps: int) -> bool:
    """Whether diffusers takes the last step of DPM-Solver++ at first order."""
    few = config["lower_order_final"] and steps < FEW_STEPS
    return bool(config["euler_at_final"] or few or config["final_sigmas_type"] == "zero")


def _objections(sampler: Sampler, config: Mapping[str, Any]) -> list[str]:
    """Options of a config that this sampler cannot follow, as ``key=value``."""
    allowed: dict[str, tuple[Any, ...]] = {
        "prediction_type": tuple(PredictionKind),
        "thresholding": (False,),  # a quantile over the whole picture, so not pointwise
    }
    match sampler:
        case Sampler.DDIM:
            allowed |= dict.fromkeys(RESPACED, (False,))
            allowed["lambda_min_clipped"] = (-float("inf"),)
            if config.get("prediction_type", PredictionKind.EPSILON) == PredictionKind.EPSILON:
                allowed["rescale_betas_zero_snr"] = (False,)  # noise says nothing of a picture with no signal
        case Sampler.DPM_SOLVER_PP_2M:
            allowed |= {
                "algorithm_type": ("dpmsolver++",),
                "solver_order": (2,),
                "solver_type": tuple(SecondOrder),
                "use_flow_sigmas": (False,),
                "use_dynamic_shifting": (False,),
                "variance_type": (None, "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
            }
        case _:
            assert_never(sampler)
    return [f"{key}={config[key]!r}" for key, values in allowed.items() if key in config and config[key] not in values]
