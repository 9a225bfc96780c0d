"""Update after update is diffusers' own scheduler, option by option; what cannot be followed is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    SASolverScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from diffusers.schedulers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler
from torch import Tensor

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.denoiser.sampling.sampling import ModelSampling
from polyrhythm_agent.errors import ModelFolderError
from tests.oracles.reference import SCHEDULERS, relative_difference

ROWS = 3


def as_saved(scheduler: Any) -> dict[str, Any]:
    """The config as its JSON file holds it: every option named."""
    return {key: value for key, value in scheduler.config.items() if key != "_use_default_values"} | {
        "_class_name": type(scheduler).__name__
    }


def model(x: Tensor, timestep: float) -> Tensor:
    """Some prediction that depends on all that a prediction may depend on."""
    return torch.tanh(1.3 * x + timestep / 700) + 0.1 * x


def ours(config: dict[str, Any], sampler: Sampler, steps: int, x: Tensor) -> Tensor:
    sampling = ModelSampling(config).start(sampler, steps, latent_rows_per_unit=2)
    x = sampling.grid.initial_scale * x
    x0, history = torch.full_like(x, float("nan")), [-1] * ROWS
    for step, timestep in enumerate(sampling.grid.timesteps):
        x, x0 = sampling.advance(x, model(x, timestep), step, step + 1, x0, history)
        history = [step] * ROWS
    return x


def diffusers_own(config: dict[str, Any], sampler: Sampler, steps: int, x: Tensor, **changes: Any) -> Tensor:
    scheduler = SCHEDULERS[sampler][torch.float64].from_config(config, **changes)
    scheduler.set_timesteps(steps)
    x = x * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        prediction = model(scheduler.scale_model_input(x, timestep), float(timestep))
        x = scheduler.step(prediction, timestep, x, return_dict=False)[0]
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


EVERY_DIFFUSION_SAMPLER = set(Sampler) - {Sampler.FLOW_EULER}


@pytest.mark.parametrize(
    ("scheduler", "own"),
    [
        (DPMSolverMultistepScheduler(), Sampler.DPM_SOLVER_PP_2M),
        (DDIMScheduler(), Sampler.DDIM),
        (EulerDiscreteScheduler(), Sampler.EULER),
        (EulerAncestralDiscreteScheduler(), Sampler.EULER_ANCESTRAL),
        (LCMScheduler(), Sampler.LCM),
        (TCDScheduler(), Sampler.TCD),
    ],
)
def test_the_models_own_sampler_is_the_default(scheduler: Any, own: Sampler) -> None:
    sampling = ModelSampling(as_saved(scheduler))
    assert sampling.samplers[0] is own
    assert set(sampling.samplers) == EVERY_DIFFUSION_SAMPLER
    assert set(sampling.full_rate_samplers) == {Sampler.EULER_ANCESTRAL, Sampler.LCM}
    assert sampling.notices == ()


@pytest.mark.parametrize(
    ("scheduler", "samplers"),
    [
        (EDMEulerScheduler(), (Sampler.EULER, Sampler.DPM_SOLVER_PP_2M)),
        (EDMDPMSolverMultistepScheduler(), (Sampler.DPM_SOLVER_PP_2M, Sampler.EULER)),
    ],
)
def test_noise_levels_without_timesteps_are_for_two_samplers(scheduler: Any, samplers: tuple[Sampler, ...]) -> None:
    assert ModelSampling(as_saved(scheduler)).samplers == samplers


def test_a_model_that_was_distilled_at_few_points_takes_no_more_steps() -> None:
    sampling = ModelSampling(as_saved(LCMScheduler(original_inference_steps=8)))
    assert sampling.start(Sampler.LCM, 8, 2).grid.steps == 8
    with pytest.raises(InvalidArgumentError, match="steps: the model was distilled at 8 timesteps, got 9 steps"):
        sampling.check_steps(Sampler.LCM, 9)
    assert sampling.start(Sampler.DDIM, 9, 2).grid.steps == 9


def test_a_model_that_may_be_told_no_betas_takes_those_of_its_own_class() -> None:
    named, unnamed = (
        ModelSampling(config).start(Sampler.DDIM, 4, 2).grid
        for config in (as_saved(LCMScheduler()), {"_class_name": "LCMScheduler"})
    )
    assert named == unnamed


def test_flow_matching_has_a_sampler_of_its_own() -> None:
    sampling = ModelSampling(as_saved(FlowMatchEulerDiscreteScheduler(shift=3.0)))
    assert sampling.samplers == (Sampler.FLOW_EULER,)
    assert sampling.full_rate_samplers == sampling.notices == ()


def test_a_sampler_that_cannot_follow_the_config_is_not_offered() -> None:
    karras = ModelSampling(as_saved(DPMSolverMultistepScheduler(use_karras_sigmas=True)))
    assert karras.samplers == (Sampler.DPM_SOLVER_PP_2M, Sampler.EULER)
    lu = ModelSampling(as_saved(DPMSolverMultistepScheduler(use_lu_lambdas=True)))
    assert lu.samplers == (Sampler.DPM_SOLVER_PP_2M,)
    learned = ModelSampling(as_saved(DDPMScheduler(variance_type="learned_range")))
    assert set(learned.samplers) == EVERY_DIFFUSION_SAMPLER - {Sampler.DPM_SOLVER_PP_2M}
    log_linear = ModelSampling(as_saved(EulerDiscreteScheduler(interpolation_type="log_linear")))
    assert log_linear.samplers == (Sampler.EULER,)


STAND_INS: tuple[tuple[Any, Sampler, str], ...] = (
    (DDPMScheduler(), Sampler.DDIM, "it draws noise at every step"),
    (PNDMScheduler(skip_prk_steps=True), Sampler.DDIM, "it looks back over steps of equal rate"),
    (DEISMultistepScheduler(), Sampler.DPM_SOLVER_PP_2M, "it looks back over steps of equal rate"),
    (UniPCMultistepScheduler(), Sampler.DPM_SOLVER_PP_2M, "it looks back over steps of equal rate"),
    (DPMSolverSinglestepScheduler(), Sampler.DPM_SOLVER_PP_2M, "it asks the model twice a step"),
    (SASolverScheduler(), Sampler.DPM_SOLVER_PP_2M, "it draws noise at every step"),
    (HeunDiscreteScheduler(), Sampler.EULER, "it asks the model twice a step"),
    (KDPM2DiscreteScheduler(), Sampler.EULER, "it asks the model twice a step"),
    (KDPM2AncestralDiscreteScheduler(), Sampler.EULER, "it draws noise at every step"),
    (LMSDiscreteScheduler(), Sampler.EULER, "it looks back over steps of equal rate"),
    (FlowMatchHeunDiscreteScheduler(shift=3.0), Sampler.FLOW_EULER, "it asks the model twice a step"),
)


@pytest.mark.parametrize(("scheduler", "sampler", "reason"), STAND_INS, ids=lambda part: type(part).__name__)
def test_a_scheduler_that_cannot_stride_gets_a_stand_in_and_the_user_is_told(
    scheduler: Any, sampler: Sampler, reason: str
) -> None:
    config = as_saved(scheduler)
    sampling = ModelSampling(config)
    name = type(scheduler).__name__
    assert sampling.samplers[0] is sampler
    assert sampling.notices == (f"scheduler {name} is not offered, since {reason}; {sampler} is the default instead",)
    unclipped = {"clip_sample": False} if sampler is Sampler.DDIM and "clip_sample" not in config else {}
    # A stand-in has its own update: of the other one's, nothing may be left.
    foreign = ("algorithm_type", "solver_order", "solver_type")
    schedule = {key: value for key, value in config.items() if key not in foreign}
    expected = diffusers_own(schedule, sampler, 20, initial(), **unclipped)
    assert relative_difference(ours(config, sampler, 20, initial()), expected) <= 1e-11


@pytest.mark.parametrize("name", ["HeunDiscreteScheduler", "DPMSolverSDEScheduler"])
def test_a_stand_in_follows_the_betas_that_the_class_would_have_taken(name: str) -> None:
    named = as_saved(HeunDiscreteScheduler())  # both classes take the same
    unnamed = {"_class_name": name}
    one, other = (ModelSampling(config).start(Sampler.EULER, 20, 2) for config in (named, unnamed))
    assert one.grid == other.grid


def test_the_preferred_stand_in_gives_way_to_one_that_can_follow() -> None:
    clipping = ModelSampling(as_saved(HeunDiscreteScheduler(clip_sample=True)))
    assert clipping.samplers == (Sampler.DDIM, Sampler.LCM)
    assert clipping.notices[0].endswith("; ddim is the default instead")


@pytest.mark.parametrize(
    ("scheduler", "named"),
    [
        (UniPCMultistepScheduler(thresholding=True), "thresholding=True"),
        (UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True), "use_flow_sigmas=True"),
        (HeunDiscreteScheduler(beta_schedule="exp"), "beta_schedule='exp'"),
        (DDPMScheduler(beta_schedule="sigmoid"), "beta_schedule='sigmoid'"),
    ],
)
def test_a_schedule_that_no_stand_in_can_follow_is_refused_by_name(scheduler: Any, named: str) -> None:
    with pytest.raises(ModelFolderError, match=f"scheduler: {type(scheduler).__name__} with .*{named}"):
        ModelSampling(as_saved(scheduler))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"algorithm_type": "sde-dpmsolver++"}, "algorithm_type='sde-dpmsolver++'"),
        ({"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}, "algorithm_type='dpmsolver'"),
        ({"solver_order": 3}, "solver_order=3"),
    ],
)
def test_another_update_of_the_solver_is_replaced_and_the_user_is_told(options: dict[str, Any], named: str) -> None:
    config = as_saved(DPMSolverMultistepScheduler()) | options
    sampling = ModelSampling(config)
    assert sampling.samplers[0] is Sampler.DPM_SOLVER_PP_2M
    (notice,) = sampling.notices
    assert notice.startswith(
        f"scheduler DPMSolverMultistepScheduler with {named} is not offered, since its update does"
    )
    assert notice.endswith("; dpmpp-2m is the default instead")
    plain = {key: value for key, value in config.items() if key not in {"algorithm_type", "solver_order"}}
    expected = diffusers_own(plain, Sampler.DPM_SOLVER_PP_2M, 20, initial())
    assert relative_difference(ours(config, Sampler.DPM_SOLVER_PP_2M, 20, initial()), expected) <= 1e-12


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"thresholding": True}, "thresholding=True"),
        ({"prediction_type": "flow_prediction", "use_flow_sigmas": True}, "prediction_type='flow_prediction'"),
        ({"variance_type": "learned"}, "variance_type='learned'"),
        ({"use_dynamic_shifting": True}, "use_dynamic_shifting=True"),
    ],
)
def test_options_of_the_solver_that_do_not_exist_here_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelFolderError, match=f"scheduler: DPMSolverMultistepScheduler with .*{named}"):
        ModelSampling(as_saved(DPMSolverMultistepScheduler()) | options)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"timestep_spacing": "even"}, "even is not supported"),
        ({"use_karras_sigmas": True, "use_exponential_sigmas": True}, "can be used"),
        ({"beta_start": "small"}, "cannot be used"),
        ({"num_train_timesteps": -1}, "cannot be used"),
    ],
)
def test_options_that_diffusers_refuses_only_when_they_are_used_are_refused_at_loading(
    options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ModelFolderError, match=rf"scheduler: .*{named}"):
        ModelSampling(as_saved(DPMSolverMultistepScheduler()) | options)


def test_noise_prediction_without_signal_is_refused() -> None:
    with pytest.raises(ModelFolderError, match="rescale_betas_zero_snr=True"):
        ModelSampling(as_saved(DDIMScheduler(rescale_betas_zero_snr=True)))


@pytest.mark.parametrize("name", ["CMStochasticIterativeScheduler", "FlowMatchLCMScheduler", ""])
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
