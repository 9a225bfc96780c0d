"""How a model may be sampled: its scheduler config, read once and checked, and the updates of one picture.

Owns the choice of grid and update for a sampler. What a config allows is ``scheduler_config``'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

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
from torch import Tensor

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.denoiser.sampling import updates as samplers
from polyrhythm_agent.denoiser.sampling.grid import (
    Grid,
    consistency_grid,
    ddim_grid,
    dpm_solver_grid,
    edm_grid,
    euler_grid,
    flow_grid,
)
from polyrhythm_agent.denoiser.sampling.scheduler_config import (
    CLIPPING_CLASSES,
    CLIPPING_SAMPLERS,
    EDM_CLASSES,
    read_offer,
)
from polyrhythm_agent.denoiser.sampling.updates import PredictionKind, SecondOrder
from polyrhythm_agent.errors import ModelFolderError

FULL_RATE_SAMPLERS = frozenset({Sampler.EULER_ANCESTRAL, Sampler.LCM})
"""Those that take every step of the grid: two half steps of an update with noise are not one whole step."""

CLASS_OF: Mapping[Sampler, type] = {
    Sampler.DDIM: DDIMScheduler,
    Sampler.DPM_SOLVER_PP_2M: DPMSolverMultistepScheduler,
    Sampler.EULER: EulerDiscreteScheduler,
    Sampler.EULER_ANCESTRAL: EulerAncestralDiscreteScheduler,
    Sampler.FLOW_EULER: FlowMatchEulerDiscreteScheduler,
    Sampler.LCM: LCMScheduler,
    Sampler.TCD: TCDScheduler,
}
EDM_CLASS_OF: Mapping[Sampler, type] = {
    Sampler.EULER: EDMEulerScheduler,
    Sampler.DPM_SOLVER_PP_2M: EDMDPMSolverMultistepScheduler,
}
"""The schedulers of diffusers whose grids these samplers visit; of EDM's noise levels, their own."""

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
        boundary: shares of x and of the predicted picture in what LCM takes for the clean one, at each point.
    """

    sampler: Sampler
    grid: Grid
    prediction: PredictionKind
    latent_rows_per_unit: int
    clip: float | None = None
    second_order: SecondOrder = SecondOrder.MIDPOINT
    first_order_last: bool = False
    boundary: tuple[tuple[float, float], ...] = ()

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
            case Sampler.DDIM | Sampler.EULER | Sampler.FLOW_EULER | Sampler.TCD:
                noise_BCHW = samplers.noise(self.prediction, x_BCHW, prediction_BCHW, source)
                next_BCHW = samplers.ddim(x0_BCHW, noise_BCHW, target)
            case Sampler.EULER_ANCESTRAL:
                noise_BCHW = samplers.noise(self.prediction, x_BCHW, prediction_BCHW, source)
                fresh_BCHW = self._needed(fresh_noise_BCHW, step)
                next_BCHW = samplers.euler_ancestral(x0_BCHW, noise_BCHW, source, target, fresh_BCHW)
            case Sampler.LCM:
                kept, taken = self.boundary[step]
                x0_BCHW = taken * x0_BCHW + kept * x_BCHW
                next_BCHW = samplers.lcm(x0_BCHW, target, self._needed(fresh_noise_BCHW, step))
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

    def _needed(self, fresh_noise_BCHW: Tensor | None, step: int) -> Tensor:
        if fresh_noise_BCHW is None:
            raise ValueError(f"{self.sampler} needs fresh noise for step {step}")
        return fresh_noise_BCHW

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

    Args:
        config: as ``scheduler_file`` reads it.
        one_step_is_clean: whether a picture of one step is the predicted one, wherever the schedule ends.

    Raises:
        ModelFolderError: the config names a scheduler or an option that this project does not have.
    """

    def __init__(self, config: Mapping[str, Any], *, one_step_is_clean: bool = False) -> None:
        offer = read_offer(config)
        self._one_step_is_clean = one_step_is_clean
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
            sampler: one of ``updates``.
            steps: fine steps.
            latent_rows_per_unit: latent rows of one row unit.
            image_tokens: of the whole picture, never of a patch; a schedule with a dynamic shift depends on it.

        Raises:
            InvalidArgumentError: the schedule has not so many steps.
        """
        scheduler = self._scheduler(sampler)
        grid, config = self._grid(sampler, scheduler, steps, image_tokens), scheduler.config
        if steps == 1 and self._one_step_is_clean:
            grid = grid.ending_clean()
        solver, clips = sampler is Sampler.DPM_SOLVER_PP_2M, sampler in CLIPPING_SAMPLERS
        boundary = scheduler.get_scalings_for_boundary_condition_discrete if sampler is Sampler.LCM else None
        return PictureSampling(
            sampler=sampler,
            grid=grid,
            prediction=_prediction_kind(config),
            latent_rows_per_unit=latent_rows_per_unit,
            clip=config["clip_sample_range"] if clips and config["clip_sample"] else None,
            second_order=SecondOrder(config["solver_type"]) if solver else SecondOrder.MIDPOINT,
            first_order_last=solver and _is_first_order_last(config, steps),
            boundary=tuple(map(boundary, grid.timesteps)) if boundary else (),
        )

    def check_steps(self, sampler: Sampler, steps: int) -> None:
        """Makes the grid and throws it away.

        Raises:
            InvalidArgumentError: the schedule has not so many steps.
        """
        self.start(sampler, steps, latent_rows_per_unit=1, image_tokens=1)

    def _grid(self, sampler: Sampler, scheduler: Any, steps: int, image_tokens: int | None) -> Grid:
        if self._is_edm:
            return edm_grid(scheduler, steps)
        match sampler:
            case Sampler.DDIM:
                return ddim_grid(scheduler, steps)
            case Sampler.DPM_SOLVER_PP_2M:
                return dpm_solver_grid(scheduler, steps)
            case Sampler.EULER | Sampler.EULER_ANCESTRAL:
                return euler_grid(scheduler, steps)
            case Sampler.FLOW_EULER:
                return flow_grid(scheduler, steps, image_tokens)
            case Sampler.LCM | Sampler.TCD:
                return consistency_grid(scheduler, steps)
            case _:
                assert_never(sampler)

    @property
    def _is_edm(self) -> bool:
        return self._config["_class_name"] in EDM_CLASSES

    def _scheduler(self, sampler: Sampler) -> Any:
        """The scheduler of diffusers that a grid is read from."""
        kind: Any = (EDM_CLASS_OF if self._is_edm else CLASS_OF)[sampler]
        # DDIM clips to [-1, 1] unless told otherwise, which is meant for pixels; a solver's config never asks for it.
        never_clips = sampler is Sampler.DDIM and self._config["_class_name"] not in CLIPPING_CLASSES
        unclipped = {"clip_sample": False} if never_clips and "clip_sample" not in self._config else {}
        return kind.from_config(self._config, **unclipped)

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


def _prediction_kind(config: Mapping[str, Any]) -> PredictionKind:
    match config["_class_name"]:
        case "FlowMatchEulerDiscreteScheduler":
            return PredictionKind.FLOW
        case name if name in EDM_CLASSES:
            velocity = config["prediction_type"] == PredictionKind.VELOCITY
            return PredictionKind.EDM_VELOCITY if velocity else PredictionKind.EDM
        case _:
            return PredictionKind(config["prediction_type"])


def _is_first_order_last(config: Mapping[str, Any], steps: int) -> bool:
    """Whether diffusers takes the last step of DPM-Solver++ at first order."""
    few = config["lower_order_final"] and steps < FEW_STEPS
    return bool(config["euler_at_final"] or few or config["final_sigmas_type"] == "zero")
