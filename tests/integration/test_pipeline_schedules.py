"""Every scheduler config's schedule in every family is that of the pipeline that a user loads from the folder.

Around the same model of a few numbers the loop of the pipelines and this project's sampling take the same steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor

from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.denoiser.sampling.noise import PictureNoise
from polyrhythm_agent.denoiser.sampling.sampling import ModelSampling
from polyrhythm_agent.denoiser.sampling.scheduler_file import scheduler_config
from tests.oracles.found_schedulers import FOUND_SCHEDULERS, FoundScheduler
from tests.oracles.pipelines import pipeline_of, with_scheduler
from tests.oracles.reference import relative_difference
from tests.tiny_models.layers import geometry

GEOMETRY = geometry(3, {}, channels=4, width=5)
TOKENS = 1024
SCHEDULE_STEPS = 6
SCHEDULE_TOLERANCE = 1e-4
"""Of max(1, max |x|): diffusers computes x0 + s * noise with s up to 120 in fp32. Measured: 2e-5 at most."""

SCALING_OR_DRAWING = {Sampler.EULER, Sampler.EULER_ANCESTRAL, Sampler.LCM, Sampler.TCD}


def runs(home: str, found: FoundScheduler) -> bool:
    """Whether the pipeline of diffusers can run such a scheduler at all.

    DiT's neither scales the first noise nor hands its generator or its eta to the scheduler; none of these knows flow
    matching, whose schedulers are tried with PixArt's.
    """
    if home == "dit":
        return found.sampler not in SCALING_OR_DRAWING and not found.kind.startswith("EDM") and bool(found.home)
    return bool(found.home) or home == "pixart"


def model(x_BCHW: Tensor, timestep: float) -> Tensor:
    """Some prediction that depends on all that a prediction may depend on, and does not grow without bound."""
    return torch.tanh(1.3 * x_BCHW + timestep / 700)


def plain_schedule(pipeline: Any) -> Tensor:
    """The loop of the pipelines around a model of a few numbers."""
    scheduler, generator = pipeline.scheduler, torch.Generator().manual_seed(5)
    options = (
        pipeline.prepare_extra_step_kwargs(generator, 0.0) if hasattr(pipeline, "prepare_extra_step_kwargs") else {}
    )
    keys = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    dynamic = scheduler.config.get("use_dynamic_shifting")
    mu = {"mu": calculate_shift(TOKENS, *(scheduler.config[key] for key in keys))} if dynamic else {}
    scheduler.set_timesteps(SCHEDULE_STEPS, **mu)
    x_BCHW = torch.randn((1, 4, 6, 5), generator=generator) * getattr(scheduler, "init_noise_sigma", 1.0)
    for timestep in scheduler.timesteps:
        scaled = hasattr(scheduler, "scale_model_input")
        shown_BCHW = scheduler.scale_model_input(x_BCHW, timestep) if scaled else x_BCHW
        x_BCHW = scheduler.step(model(shown_BCHW, float(timestep)), timestep, x_BCHW, **options, return_dict=False)[0]
    return x_BCHW


def our_schedule(folder: Path, found: FoundScheduler) -> Tensor:
    offered = ModelSampling(scheduler_config(ModelFolder.open(folder)))
    assert offered.samplers[0] is found.sampler
    assert (len(offered.notices) == 1) is found.stands_in
    assert all(found.kind in notice and found.sampler in notice for notice in offered.notices)
    sampling = offered.start(found.sampler, SCHEDULE_STEPS, 2, TOKENS)
    noise = PictureNoise(seed=5, geometry=GEOMETRY)
    x_BCHW = sampling.grid.initial_scale * noise.initial()
    x0_BCHW = torch.full_like(x_BCHW, float("nan"))
    for step, timestep in enumerate(sampling.grid.timesteps):
        fresh_BCHW = noise.of_step(step) if sampling.draws_noise else None
        history = [step - 1] * GEOMETRY.row_count
        prediction_BCHW = model(x_BCHW, timestep)
        x_BCHW, x0_BCHW = sampling.advance(x_BCHW, prediction_BCHW, step, step + 1, x0_BCHW, history, fresh_BCHW)
    return x_BCHW


@pytest.mark.parametrize("name", FOUND_SCHEDULERS)
def test_every_familys_schedule_is_its_pipelines(folders: Mapping[str, Path], tmp_path: Path, name: str) -> None:
    found = FOUND_SCHEDULERS[name]
    for home in ("sd", "sdxl", "pixart", "dit"):
        if runs(home, found):
            path = tmp_path / home
            path.mkdir()
            folder = with_scheduler(folders[home], path, found.kind, found.file)
            expected_BCHW = plain_schedule(pipeline_of(folders[home], folder, found))
            assert relative_difference(our_schedule(folder, found), expected_BCHW) <= SCHEDULE_TOLERANCE, home


def test_values_that_a_config_says_are_defaults_are_not_read(folders: Mapping[str, Path], tmp_path: Path) -> None:
    unread = {"timestep_spacing": "trailing", "_use_default_values": ["timestep_spacing"]}
    found = FOUND_SCHEDULERS["sdxl"]
    folder = with_scheduler(folders["sdxl"], tmp_path, found.kind, found.file | unread)
    expected_BCHW = plain_schedule(pipeline_of(folders["sdxl"], folder, found))
    assert relative_difference(our_schedule(folder, found), expected_BCHW) <= SCHEDULE_TOLERANCE
