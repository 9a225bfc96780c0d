"""How a model may be sampled: its scheduler config, read once and checked, and the updates of one picture.

Owns the choice of grid and update for a sampler. What a config allows is ``scheduler_config``'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.image import Sampler
from polyrhythm_agent.denoiser import samplers
from polyrhythm_agent.denoiser.grid import Grid, ddim_grid, dpm_solver_grid, euler_grid, flow_grid
from polyrhythm_agent.denoiser.samplers import PredictionKind, SecondOrder
from polyrhythm_agent.denoiser.scheduler_config import CLIPPING_CLASSES, read_offer
from polyrhythm_agent.errors import ModelFolderError

FULL_RATE_SAMPLERS = frozenset({Sampler.EULER_ANCESTRAL})
"""Those that take every step of the grid: two half steps of an update with noise are not one whole step."""

TRIED_STEPS = 10
"""Of the grids that are made to see whether a config's options can be used."""

FEW_STEPS = 15
"""Below so many steps ``lower_order_final`` means something, as in diffusers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSampling:
    """The sampler of one picture: a grid and the update between any two of its points.

    Attributes:
        sampler: update rule.
        grid: of the picture.
        prediction: what the model predicts.
        latent_rows_per_unit: latent rows of one row unit.
        clip: bound of predicted clean latents, or None.
        second_order: weight of the difference in DPM-Solver++ 2M.
        first_order_last: whether the jump of DPM-Solver++ 2M to the clean picture is first order.
    """

    sampler: Sampler
    grid: Grid
    prediction: PredictionKind
    latent_rows_per_unit: int
    clip: float | None = None
    second_order: SecondOrder = SecondOrder.MIDPOINT
    first_order_last: bool = False

    @property
    def draws_noise(self) -> bool:
        """Whether every update takes fresh noise."""
        return self.sampler in FULL_RATE_SAMPLERS

    def advance(
        self,
        x_BCHW: Tensor,
        prediction_BCHW: Tensor,
        step: int,
        next_step: int,
        history_x0_BCHW: Tensor,
        history_steps: Sequence[int],
        fresh_noise_BCHW: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One update; arguments and result as in ``DenoiserRun.advance``.

        ``fresh_noise_BCHW`` is this step's unit noise for the own rows, where the sampler ``draws_noise``.
        """
        self._check(step, next_step, history_steps)
        source, target = self.grid.departures[step], self.grid.arrivals[next_step]
        x0_BCHW = samplers.clean_picture(self.prediction, x_BCHW, prediction_BCHW, source)
        if self.clip is not None:
            x0_BCHW = x0_BCHW.clamp(-self.clip, self.clip)
        match self.sampler:
            case Sampler.DDIM | Sampler.EULER | Sampler.FLOW_EULER:
                noise_BCHW = samplers.noise(self.prediction, x_BCHW, prediction_BCHW, source)
                next_BCHW = samplers.ddim(x0_BCHW, noise_BCHW, target)
            case Sampler.EULER_ANCESTRAL:
                if fresh_noise_BCHW is None:
                    raise ValueError(f"{self.sampler} needs fresh noise for step {step}")
                noise_BCHW = samplers.noise(self.prediction, x_BCHW, prediction_BCHW, source)
                next_BCHW = samplers.euler_ancestral(x0_BCHW, noise_BCHW, source, target, fresh_noise_BCHW)
            case Sampler.DPM_SOLVER_PP_2M:
                next_BCHW = samplers.dpm_solver_pp_2m(
                    x_BCHW,
                    x0_BCHW,
                    source,
                    target,
                    history_x0_BCHW,
                    self._history_lambdas(next_step, history_steps),
                    latent_rows_per_unit=self.latent_rows_per_unit,
                    second_order=self.second_order,
                )
            case _:
                assert_never(self.sampler)
        return next_BCHW, x0_BCHW

    def _check(self, step: int, next_step: int, history_steps: Sequence[int]) -> None:
        longest = 1 if self.sampler in FULL_RATE_SAMPLERS else self.grid.steps
        if not 0 <= step < next_step <= min(self.grid.steps, step + longest) or any(k >= step for k in history_steps):
            raise ValueError(
                f"no update of {self.sampler} from {step} to {next_step} of {self.grid.steps} with history "
                f"{history_steps}"
            )

    def _history_lambdas(self, next_step: int, history_steps: Sequence[int]) -> list[float | None]:
        first_order = self.first_order_last and next_step == self.grid.steps
        return [None if first_order or k < 0 else self.grid.departures[k].half_log_snr for k in history_steps]


class ModelSampling:
    """The samplers that a model's scheduler config allows.

    Raises:
        ModelFolderError: the config names a scheduler or an option that this project does not have.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        offer = read_offer(config)
        self._config = offer.config
        self._try(offer.samplers[0])
        self.samplers = tuple(sampler for sampler in offer.samplers if self._works(sampler))
        """What may be asked for, the default first."""
        self.full_rate_samplers = tuple(sampler for sampler in self.samplers if sampler in FULL_RATE_SAMPLERS)
        """Those of them that take stride 1 only."""
        self.notices = offer.notices
        """What the user should know of the choice."""

    def start(
        self, sampler: Sampler, steps: int, latent_rows_per_unit: int, image_tokens: int | None = None
    ) -> PictureSampling:
        """The sampler of one picture.

        Args:
            sampler: one of ``samplers``.
            steps: fine steps.
            latent_rows_per_unit: latent rows of one row unit.
            image_tokens: of the whole picture, never of a patch; a schedule with a dynamic shift depends on it.

        Raises:
            InvalidArgumentError: the schedule has not so many steps.
        """
        begun = partial(PictureSampling, sampler=sampler, latent_rows_per_unit=latent_rows_per_unit)
        match sampler:
            case Sampler.DDIM:
                ddim = _ddim_scheduler(self._config)
                return begun(
                    grid=ddim_grid(ddim, steps),
                    prediction=PredictionKind(ddim.config["prediction_type"]),
                    clip=ddim.config["clip_sample_range"] if ddim.config["clip_sample"] else None,
                )
            case Sampler.DPM_SOLVER_PP_2M:
                solver = DPMSolverMultistepScheduler.from_config(self._config)
                return begun(
                    grid=dpm_solver_grid(solver, steps),
                    prediction=PredictionKind(solver.config["prediction_type"]),
                    second_order=SecondOrder(solver.config["solver_type"]),
                    first_order_last=_is_first_order_last(solver.config, steps),
                )
            case Sampler.EULER | Sampler.EULER_ANCESTRAL:
                euler = _euler_scheduler(sampler, self._config)
                prediction = PredictionKind(euler.config["prediction_type"])
                return begun(grid=euler_grid(euler, steps), prediction=prediction)
            case Sampler.FLOW_EULER:
                flow: Any = FlowMatchEulerDiscreteScheduler.from_config(self._config)
                return begun(grid=flow_grid(flow, steps, image_tokens), prediction=PredictionKind.FLOW)
            case _:
                assert_never(sampler)

    def check_steps(self, sampler: Sampler, steps: int) -> None:
        """Makes the grid and throws it away.

        Raises:
            InvalidArgumentError: the schedule has not so many steps.
        """
        self.start(sampler, steps, latent_rows_per_unit=1, image_tokens=1)

    def _works(self, sampler: Sampler) -> bool:
        try:
            self._try(sampler)
        except ModelFolderError:
            return False
        return True

    def _try(self, sampler: Sampler) -> None:
        """Makes a grid now, since diffusers looks at many options only when they are used: in the middle of a job.

        Raises:
            ModelFolderError: it cannot be made, whatever the number of steps.
        """
        try:
            self.start(sampler, TRIED_STEPS, latent_rows_per_unit=1, image_tokens=1)
        except InvalidArgumentError:
            pass  # so many steps are none of this schedule; others may be
        except (ArithmeticError, ImportError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise ModelFolderError(f"scheduler: {self._config['_class_name']} cannot be used: {error}") from error


def _euler_scheduler(
    sampler: Sampler, config: dict[str, Any]
) -> EulerDiscreteScheduler | EulerAncestralDiscreteScheduler:
    kind = EulerAncestralDiscreteScheduler if sampler is Sampler.EULER_ANCESTRAL else EulerDiscreteScheduler
    scheduler: Any = kind.from_config(config)
    return scheduler


def _ddim_scheduler(config: dict[str, Any]) -> DDIMScheduler:
    # DDIM clips to [-1, 1] unless told otherwise, which is meant for pixels; a solver's config never asks for it.
    unclipped = config["_class_name"] not in CLIPPING_CLASSES and "clip_sample" not in config
    scheduler: Any = DDIMScheduler.from_config(config, **({"clip_sample": False} if unclipped else {}))
    return scheduler


def _is_first_order_last(config: Mapping[str, Any], steps: int) -> bool:
    """Whether diffusers takes the last step of DPM-Solver++ at first order."""
    few = config["lower_order_final"] and steps < FEW_STEPS
    return bool(config["euler_at_final"] or few or config["final_sigmas_type"] == "zero")
