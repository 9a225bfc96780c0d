"""Update after update is diffusers' own scheduler, option by option; what cannot be followed is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from polyrhythm.image import Sampler
from polyrhythm_agent.denoiser.sampling import ModelSampling
from polyrhythm_agent.errors import ModelFolderError
from tests.reference import SCHEDULERS, relative_difference

ROWS = 3


def as_saved(scheduler: Any) -> dict[str, Any]:
    """The config as its JSON file holds it: every option named."""
    return {key: value for key, value in scheduler.config.items() if key != "_use_default_values"} | {
        "_class_name": type(scheduler).__name__
    }


def model(x: Tensor, timestep: int) -> Tensor:
    """Some prediction that depends on all that a prediction may depend on."""
    return torch.tanh(1.3 * x + timestep / 700) + 0.1 * x


def ours(config: dict[str, Any], sampler: Sampler, steps: int, x: Tensor) -> Tensor:
    sampling = ModelSampling(config).start(sampler, steps, latent_rows_per_unit=2)
    x0, history = torch.full_like(x, float("nan")), [-1] * ROWS
    for step, timestep in enumerate(sampling.grid.timesteps):
        x, x0 = sampling.advance(x, model(x, timestep), step, step + 1, x0, history)
        history = [step] * ROWS
    return x


def diffusers_own(config: dict[str, Any], sampler: Sampler, steps: int, x: Tensor, **changes: Any) -> Tensor:
    scheduler = SCHEDULERS[sampler][torch.float64].from_config(config, **changes)
    scheduler.set_timesteps(steps)
    for timestep in scheduler.timesteps:
        x = scheduler.step(model(x, int(timestep)), timestep, x, return_dict=False)[0]
    return x


def initial() -> Tensor:
    return torch.randn(1, 4, 2 * ROWS, 5, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


DPM_OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "scaled linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1},
    "heun": {"solver_type": "heun"},
    "velocity": {"prediction_type": "v_prediction"},
    "clean": {"prediction_type": "sample"},
    "ends at sigma_min": {"final_sigmas_type": "sigma_min"},
    "ends by euler": {"final_sigmas_type": "sigma_min", "euler_at_final": True},
    "second order to the end": {"final_sigmas_type": "sigma_min", "lower_order_final": False},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "lu": {"use_lu_lambdas": True},
    "leading": {"timestep_spacing": "leading", "steps_offset": 1},
    "trailing, no signal at the start": {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True},
}


@pytest.mark.parametrize("steps", [1, 2, 10, 14, 15, 24])
@pytest.mark.parametrize("name", list(DPM_OPTIONS))
def test_dpm_solver_is_diffusers(name: str, steps: int) -> None:
    config = as_saved(DPMSolverMultistepScheduler(**DPM_OPTIONS[name]))
    expected = diffusers_own(config, Sampler.DPM_SOLVER_PP_2M, steps, initial())
    assert relative_difference(ours(config, Sampler.DPM_SOLVER_PP_2M, steps, initial()), expected) <= 1e-12


DDIM_OPTIONS: dict[str, dict[str, Any]] = {
    "pixels": {},
    "latents": {"clip_sample": False},
    "wide clip": {"clip_sample_range": 2.5},
    "stable diffusion": {
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "beta_schedule": "scaled_linear",
    },
    "velocity": {"prediction_type": "v_prediction", "clip_sample": False},
    "clean": {"prediction_type": "sample", "clip_sample": False},
    "linspace": {"timestep_spacing": "linspace", "clip_sample": False},
    "no signal at the start": {
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": True,
        "prediction_type": "v_prediction",
        "clip_sample": False,
    },
}


@pytest.mark.parametrize("steps", [1, 2, 10, 24, 50])
@pytest.mark.parametrize("name", list(DDIM_OPTIONS))
def test_ddim_is_diffusers(name: str, steps: int) -> None:
    config = as_saved(DDIMScheduler(**DDIM_OPTIONS[name]))
    expected = diffusers_own(config, Sampler.DDIM, steps, initial())
    assert relative_difference(ours(config, Sampler.DDIM, steps, initial()), expected) <= 1e-12


def test_ddim_of_a_solvers_config_does_not_clip() -> None:
    config = as_saved(DPMSolverMultistepScheduler())
    expected = diffusers_own(config, Sampler.DDIM, 20, initial(), clip_sample=False)
    assert relative_difference(ours(config, Sampler.DDIM, 20, initial()), expected) <= 1e-12


def test_the_models_own_sampler_is_the_default() -> None:
    assert ModelSampling(as_saved(DPMSolverMultistepScheduler())).samplers == (Sampler.DPM_SOLVER_PP_2M, Sampler.DDIM)
    assert ModelSampling(as_saved(DDIMScheduler())).samplers == (Sampler.DDIM, Sampler.DPM_SOLVER_PP_2M)
    assert ModelSampling(as_saved(DDPMScheduler())).samplers == (Sampler.DDIM, Sampler.DPM_SOLVER_PP_2M)


def test_a_sampler_that_cannot_follow_the_config_is_not_offered() -> None:
    karras = ModelSampling(as_saved(DPMSolverMultistepScheduler(use_karras_sigmas=True)))
    assert karras.samplers == (Sampler.DPM_SOLVER_PP_2M,)
    learned = ModelSampling(as_saved(DDPMScheduler(variance_type="learned_range")))
    assert learned.samplers == (Sampler.DDIM,)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"thresholding": True}, "thresholding=True"),
        ({"algorithm_type": "sde-dpmsolver++"}, "algorithm_type='sde-dpmsolver\\+\\+'"),
        ({"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}, "algorithm_type='dpmsolver'"),
        ({"solver_order": 3}, "solver_order=3"),
        ({"prediction_type": "flow_prediction", "use_flow_sigmas": True}, "prediction_type='flow_prediction'"),
        ({"variance_type": "learned"}, "variance_type='learned'"),
        ({"use_dynamic_shifting": True}, "use_dynamic_shifting=True"),
    ],
)
def test_options_of_the_solver_that_do_not_exist_here_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelFolderError, match=f"scheduler: DPMSolverMultistepScheduler with .*{named}"):
        ModelSampling(as_saved(DPMSolverMultistepScheduler()) | options)


def test_noise_prediction_without_signal_is_refused() -> None:
    with pytest.raises(ModelFolderError, match="rescale_betas_zero_snr=True"):
        ModelSampling(as_saved(DDIMScheduler(rescale_betas_zero_snr=True)))


@pytest.mark.parametrize("name", ["EulerAncestralDiscreteScheduler", "FlowMatchEulerDiscreteScheduler", ""])
def test_other_schedulers_are_refused(name: str) -> None:
    with pytest.raises(ModelFolderError, match=f"scheduler: '{name}' is not one of DDIMScheduler"):
        ModelSampling({"_class_name": name})


@pytest.mark.parametrize(
    ("step", "next_step", "history"), [(3, 3, [-1]), (4, 3, [-1]), (-1, 2, [-1]), (3, 21, [-1]), (3, 4, [3])]
)
def test_only_forward_updates_exist(step: int, next_step: int, history: list[int]) -> None:
    sampling = ModelSampling(as_saved(DDIMScheduler())).start(Sampler.DDIM, 20, latent_rows_per_unit=2)
    x = torch.zeros(1, 4, 2, 2)
    with pytest.raises(ValueError, match="no update"):
        sampling.advance(x, x, step, next_step, x, history)
