"""Euler, ancestral Euler and flow-matching Euler are the schedulers of diffusers, whatever their configs ask for.

Diffusers keeps x0 + s * noise with s up to some thousands, so its own rounding grows with s; the tolerances do too.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.denoiser.sampling.noise import PictureNoise
from polyrhythm_agent.denoiser.sampling.sampling import ModelSampling, PictureSampling
from polyrhythm_agent.errors import ModelFolderError
from tests.oracles.reference import SCHEDULERS, relative_difference
from tests.tiny_models.layers import geometry

SEED = 5
GEOMETRY = geometry(3, {}, channels=4, width=5)
ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-13}
"""Of one step at no noise; measured: 3e-7 and 4e-16."""

BETAS = (
    {"beta_schedule": "linear"},
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"beta_schedule": "linear", "num_train_timesteps": 250, "beta_end": 0.08},
)
SPACINGS = ({"timestep_spacing": "linspace"}, {"timestep_spacing": "leading"}, {"timestep_spacing": "trailing"})
dtypes = st.sampled_from(list(ROUNDING))
steps_taken = st.integers(1, 40)


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for part in parts for key, value in part.items()}


euler_options = st.builds(
    merged,
    st.sampled_from(BETAS),
    st.sampled_from(SPACINGS),
    st.sampled_from(
        ({}, {"use_karras_sigmas": True}, {"use_exponential_sigmas": True}, {"interpolation_type": "log_linear"})
    ),
    st.fixed_dictionaries(
        {
            "prediction_type": st.sampled_from(("epsilon", "v_prediction", "sample")),
            "steps_offset": st.integers(0, 1),
            "rescale_betas_zero_snr": st.booleans(),
            "final_sigmas_type": st.sampled_from(("zero", "sigma_min")),
        }
    ),
)
ancestral_options = st.builds(
    merged,
    st.sampled_from(BETAS),
    st.sampled_from(SPACINGS),
    st.fixed_dictionaries(
        {
            "prediction_type": st.sampled_from(("epsilon", "v_prediction")),
            "steps_offset": st.integers(0, 1),
            "rescale_betas_zero_snr": st.booleans(),
        }
    ),
)
flow_options = st.builds(
    merged,
    st.sampled_from(({"shift": 1.0}, {"shift": 3.0}, {"use_dynamic_shifting": True})),
    st.sampled_from(({}, {"shift_terminal": 0.02}, {"use_karras_sigmas": True}, {"use_exponential_sigmas": True})),
    st.fixed_dictionaries(
        {
            "time_shift_type": st.sampled_from(("exponential", "linear")),
            "base_image_seq_len": st.sampled_from((64, 256)),
            "max_shift": st.sampled_from((1.15, 1.6)),
        }
    ),
)


def model(x_BCHW: Tensor, timestep: float) -> Tensor:
    """Some prediction that depends on all that a prediction may depend on, and does not grow without bound."""
    return torch.tanh(1.3 * x_BCHW + timestep / 700)


def ours(sampling: PictureSampling, dtype: torch.dtype, noise: PictureNoise) -> Tensor:
    x_BCHW = sampling.grid.initial_scale * noise.initial().to(dtype)
    x0_BCHW = torch.full_like(x_BCHW, float("nan"))
    for step, timestep in enumerate(sampling.grid.timesteps):
        fresh_BCHW = noise.of_step(step).to(dtype) if sampling.draws_noise else None
        history = [step - 1] * GEOMETRY.row_count
        prediction_BCHW = model(x_BCHW, timestep)
        x_BCHW, x0_BCHW = sampling.advance(x_BCHW, prediction_BCHW, step, step + 1, x0_BCHW, history, fresh_BCHW)
    return x_BCHW


def diffusers_own(scheduler: Any, steps: int, dtype: torch.dtype) -> Tensor:
    """The loop of a diffusers pipeline."""
    generator = torch.Generator().manual_seed(SEED)
    shape = (1, GEOMETRY.latent_channels, GEOMETRY.latent_height, GEOMETRY.latent_width)
    unit_BCHW = torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype)
    scheduler.set_timesteps(steps)
    assume(len(scheduler.timesteps) == steps)  # by a rounding error "trailing" sometimes has one more, at -1
    scheduler.set_begin_index(0)
    x_BCHW = unit_BCHW * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        prediction_BCHW = model(scheduler.scale_model_input(x_BCHW, timestep), float(timestep))
        x_BCHW = scheduler.step(prediction_BCHW, timestep, x_BCHW, generator=generator, return_dict=False)[0]
    assert x_BCHW.dtype is dtype
    return x_BCHW


def assert_is_diffusers(
    sampler: Sampler, config: dict[str, Any], steps: int, dtype: torch.dtype, image_tokens: int | None = None
) -> None:
    scheduler = SCHEDULERS[sampler][dtype].from_config(config)
    scheduler.image_tokens = image_tokens
    try:
        sampling = ModelSampling(config).start(sampler, steps, 2, image_tokens)
    except InvalidArgumentError:
        assume(False)
        raise
    expected_BCHW = diffusers_own(scheduler, steps, dtype)
    assume(bool(expected_BCHW.isfinite().all()))  # fp32 of diffusers' own makes roots of small negative numbers
    tolerance = ROUNDING[dtype] * steps * (1.0 + float(scheduler.sigmas.max()))
    noise = PictureNoise(seed=SEED, geometry=GEOMETRY)
    assert relative_difference(ours(sampling, dtype, noise), expected_BCHW) <= tolerance


def config_of(scheduler: Any) -> dict[str, Any]:
    return {**scheduler.config, "_class_name": type(scheduler).__name__}


@given(options=euler_options, steps=steps_taken, dtype=dtypes)
def test_euler_is_diffusers(options: dict[str, Any], steps: int, dtype: torch.dtype) -> None:
    config = config_of(EulerDiscreteScheduler(**options))
    assert_is_diffusers(Sampler.EULER, config, steps, dtype)


@given(options=ancestral_options, steps=steps_taken, dtype=dtypes)
def test_ancestral_euler_is_diffusers(options: dict[str, Any], steps: int, dtype: torch.dtype) -> None:
    config = config_of(EulerAncestralDiscreteScheduler(**options))
    assert_is_diffusers(Sampler.EULER_ANCESTRAL, config, steps, dtype)


@given(options=flow_options, steps=steps_taken, dtype=dtypes, image_tokens=st.integers(16, 4096))
def test_flow_euler_is_diffusers(options: dict[str, Any], steps: int, dtype: torch.dtype, image_tokens: int) -> None:
    config = config_of(FlowMatchEulerDiscreteScheduler(**options))
    assert_is_diffusers(Sampler.FLOW_EULER, config, steps, dtype, image_tokens)


@pytest.mark.parametrize(("spacing", "excess"), [("leading", 0.0), ("linspace", 1e-5), ("trailing", 1e-5)])
def test_the_initial_scale_is_that_of_diffusers(spacing: str, excess: float) -> None:
    scheduler = EulerDiscreteScheduler(timestep_spacing=spacing)  # pyright: ignore[reportArgumentType]
    scheduler.set_timesteps(20)
    sigma = float(scheduler.sigmas[0])
    grid = ModelSampling(config_of(scheduler)).start(Sampler.EULER, 20, 2).grid
    assert grid.initial_scale == pytest.approx(float(scheduler.init_noise_sigma) / (1 + sigma**2) ** 0.5, rel=1e-6)
    assert (1 - grid.initial_scale > excess) == (spacing != "leading")


@settings(max_examples=30)
@given(steps=st.integers(2, 40), jump=st.integers(1, 8), seed=st.integers(0, 99))
@pytest.mark.parametrize("sampler", [Sampler.EULER, Sampler.FLOW_EULER])
def test_a_model_that_keeps_its_mind_is_stepped_alike_in_one_jump_and_in_many(
    sampler: Sampler, steps: int, jump: int, seed: int
) -> None:
    kind = FlowMatchEulerDiscreteScheduler if sampler is Sampler.FLOW_EULER else EulerDiscreteScheduler
    sampling = ModelSampling(config_of(kind())).start(sampler, steps, 2)
    begin = seed % steps
    end = min(steps, begin + jump)
    unit_BCHW = PictureNoise(seed=seed, geometry=GEOMETRY)
    x_BCHW, prediction_BCHW = unit_BCHW.initial().double(), unit_BCHW.of_step(0).double()
    history = [-1] * GEOMETRY.row_count
    at_once_BCHW, _ = sampling.advance(x_BCHW, prediction_BCHW, begin, end, x_BCHW, history)
    for step in range(begin, end):
        x_BCHW, _ = sampling.advance(x_BCHW, prediction_BCHW, step, step + 1, x_BCHW, history)
    torch.testing.assert_close(x_BCHW, at_once_BCHW, rtol=1e-10, atol=1e-10)


def test_fractional_timesteps_stay_fractions_and_whole_ones_integers() -> None:
    def timesteps(spacing: str) -> tuple[float, ...]:
        scheduler = EulerDiscreteScheduler(timestep_spacing=spacing)  # pyright: ignore[reportArgumentType]
        return ModelSampling(config_of(scheduler)).start(Sampler.EULER, 20, 2).grid.timesteps

    assert timesteps("linspace")[1] == pytest.approx(999 - 999 / 19)
    assert {type(t) for t in timesteps("linspace")} == {float}
    assert {type(t) for t in timesteps("leading")} == {int}


def test_a_dynamic_shift_goes_by_the_tokens_of_the_picture() -> None:
    sampling = ModelSampling(config_of(FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)))
    small, large = (sampling.start(Sampler.FLOW_EULER, 20, 2, tokens).grid for tokens in (256, 4096))
    assert small.timesteps[10] < large.timesteps[10]
    with pytest.raises(ValueError, match="tokens of the whole picture"):
        sampling.start(Sampler.FLOW_EULER, 20, 2)


def test_noise_of_a_step_is_the_same_in_every_order_and_after_a_resumption() -> None:
    straight = PictureNoise(seed=SEED, geometry=GEOMETRY)
    drawn = [straight.initial().clone(), *(straight.of_step(step).clone() for step in range(6))]
    again = PictureNoise(seed=SEED, geometry=GEOMETRY)
    for step in (3, 3, 0, 5, 1):
        assert torch.equal(again.of_step(step), drawn[1 + step])
    assert torch.equal(again.initial(), drawn[0])
    assert len({float(part.sum()) for part in drawn}) == len(drawn)


def test_ancestral_noise_is_bit_by_bit_what_diffusers_draws() -> None:
    scheduler = EulerAncestralDiscreteScheduler()
    scheduler.set_timesteps(6)
    noise, generator = PictureNoise(seed=SEED, geometry=GEOMETRY), torch.Generator().manual_seed(SEED)
    x_BCHW = torch.randn(noise.initial().shape, generator=generator)
    assert torch.equal(x_BCHW, noise.initial())
    for step, timestep in enumerate(scheduler.timesteps):
        # With x and prediction at nothing, what is left of a step is its noise.
        zero_BCHW = torch.zeros_like(x_BCHW)
        scheduler.scale_model_input(zero_BCHW, timestep)
        sigma, sigma_to = scheduler.sigmas[step], scheduler.sigmas[step + 1]
        up = (sigma_to**2 * (sigma**2 - sigma_to**2) / sigma**2) ** 0.5
        added_BCHW = scheduler.step(zero_BCHW, timestep, zero_BCHW, generator=generator, return_dict=False)[0]
        assert torch.equal(added_BCHW, noise.of_step(step) * up)


def test_ancestral_updates_go_step_by_step_and_with_noise() -> None:
    sampling = ModelSampling(config_of(EulerAncestralDiscreteScheduler())).start(Sampler.EULER_ANCESTRAL, 20, 2)
    x_BCHW = torch.zeros(1, 4, 2, 2)
    with pytest.raises(ValueError, match="no update of euler-ancestral from 3 to 5"):
        sampling.advance(x_BCHW, x_BCHW, 3, 5, x_BCHW, [-1], x_BCHW)
    with pytest.raises(ValueError, match="needs fresh noise"):
        sampling.advance(x_BCHW, x_BCHW, 3, 4, x_BCHW, [-1])


def test_steps_without_noise_levels_of_their_own_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="steps: the model's schedule has 100 timesteps, got 101 steps"):
        ModelSampling(config_of(EulerDiscreteScheduler(num_train_timesteps=100))).start(Sampler.EULER, 101, 2)
    beyond = ModelSampling(config_of(EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1)))
    with pytest.raises(InvalidArgumentError, match=r"steps: .* (leave the model's|different noise levels)"):
        beyond.start(Sampler.EULER, 1000, 2)


@pytest.mark.parametrize(
    ("scheduler", "options", "named"),
    [
        (EulerDiscreteScheduler(), {"timestep_type": "continuous"}, "timestep_type='continuous'"),
        (EulerAncestralDiscreteScheduler(), {"prediction_type": "sample"}, "prediction_type='sample'"),
        (FlowMatchEulerDiscreteScheduler(), {"invert_sigmas": True}, "invert_sigmas=True"),
        (FlowMatchEulerDiscreteScheduler(), {"stochastic_sampling": True}, "stochastic_sampling=True"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(scheduler: Any, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelFolderError, match=f"scheduler: {type(scheduler).__name__} with {named} is not supported"):
        ModelSampling(config_of(scheduler) | options)
