"""`exact` is the picture of diffusers' pipeline as a user loads it from the folder, whatever scheduler lies there.

The reference keeps the scheduler that its pipeline was loaded with. Where that is replaced here, it is the pipeline
loaded with the replacement, made of the first one's config. A whole picture is compared for every config in the family
where it is at home; ``test_pipeline_schedules`` compares its schedule, a few numbers wide, in all the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from inspect import signature
from pathlib import Path

import pytest
import torch

from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.denoiser.loading import load_denoiser
from tests.oracles.found_schedulers import FOUND_SCHEDULERS
from tests.oracles.pipelines import (
    assert_same,
    image,
    our_picture,
    pipeline_in,
    pipeline_of,
    plain_picture,
    with_config,
    with_scheduler,
)

AT_HOME = [name for name, found in FOUND_SCHEDULERS.items() if found.home]


@pytest.mark.parametrize("name", AT_HOME)
def test_exact_is_the_pipelines_picture(folders: Mapping[str, Path], tmp_path: Path, name: str) -> None:
    found = FOUND_SCHEDULERS[name]
    base = folders[found.home]
    folder = with_scheduler(base, tmp_path, found.kind, found.file)
    spec = image(found.home, sampler=found.sampler, steps=found.steps, guidance=found.guidance)
    assert_same(our_picture(folder, spec), plain_picture(pipeline_of(base, folder, found), found.home, spec))


@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("home", ["sdxl", "sigma", "dit"])
def test_guidance_up_to_1_is_no_guidance(folders: Mapping[str, Path], home: str, guidance: float) -> None:
    found = FOUND_SCHEDULERS["dit"]
    base = folders[home]
    sampler = Sampler(load_denoiser(base, model="tiny").facts.samplers[0])
    spec = image(home, sampler=sampler, steps=4, guidance=guidance)
    assert_same(our_picture(base, spec), plain_picture(pipeline_of(base, base, found), home, spec))


@pytest.mark.parametrize("guidance", [0.5, 1.0, 8.5])
@pytest.mark.parametrize("steps", [1, 4, 8])
def test_a_model_that_is_told_the_guidance_is_its_pipeline(
    folders: Mapping[str, Path], steps: int, guidance: float
) -> None:
    found, base = FOUND_SCHEDULERS["sd lcm"], folders["lcm"]
    spec = image("lcm", sampler=found.sampler, steps=steps, guidance=guidance)
    assert_same(our_picture(base, spec), plain_picture(pipeline_of(base, base, found), "lcm", spec))


@pytest.mark.parametrize("home", ["sd", "sdxl", "lcm", "pixart", "sigma", "dit"])
def test_what_nobody_asks_for_is_what_the_pipeline_takes(folders: Mapping[str, Path], home: str) -> None:
    facts, found = load_denoiser(folders[home], model="tiny").facts, FOUND_SCHEDULERS["dit"]
    asked = signature(pipeline_of(folders[home], folders[home], found).__call__).parameters
    taken = [asked[name].default for name in ("num_inference_steps", "guidance_scale")]
    assert [facts.default_steps, facts.default_guidance] == taken


def test_pixart_alpha_takes_a_picture_of_one_step_as_it_is_predicted(
    folders: Mapping[str, Path], tmp_path: Path
) -> None:
    # The schedule itself would end at the first trained timestep.
    found = FOUND_SCHEDULERS["pixart clipping ddim"]
    folder = with_scheduler(folders["pixart"], tmp_path, found.kind, {**found.file, "set_alpha_to_one": False})
    spec = image("pixart", sampler=Sampler.DDIM, steps=1, guidance=1.0)
    assert_same(our_picture(folder, spec), plain_picture(pipeline_of(folders["pixart"], folder, found), "pixart", spec))


@pytest.mark.parametrize("home", ["sd", "lcm", "sdxl", "pixart", "sigma", "dit"])
def test_latents_are_scaled_as_the_pipeline_scales_them(folders: Mapping[str, Path], tmp_path: Path, home: str) -> None:
    # Only SDXL's pipeline heeds mean and deviation of a channel, and none of these a shift.
    scales = {"latents_mean": [1.5, -0.5, 0.2, 2.0], "latents_std": [0.3, 3.0, 1.5, 0.7], "shift_factor": 0.7}
    folder = with_config(folders[home], tmp_path, "vae", **scales)
    sampler = Sampler(load_denoiser(folder, model="tiny").facts.samplers[0])
    spec = image(home, sampler=sampler, steps=3, guidance=4.5)
    assert_same(our_picture(folder, spec), plain_picture(pipeline_in(folder), home, spec))


MASKED = {"use_attention_mask": True}


@pytest.mark.parametrize("home", ["sd", "lcm", "sdxl"])
def test_padding_is_attended_to_where_the_pipeline_lets_it(
    folders: Mapping[str, Path], tmp_path: Path, home: str
) -> None:
    folder = with_config(folders[home], tmp_path / "one", "text_encoder", **MASKED)
    if home == "sdxl":  # whose pipeline heeds it in neither
        folder = with_config(folder, tmp_path / "both", "text_encoder_2", **MASKED)
    sampler = Sampler(load_denoiser(folder, model="tiny").facts.samplers[0])
    spec = image(home, sampler=sampler, steps=3, guidance=4.5)
    assert_same(our_picture(folder, spec), plain_picture(pipeline_in(folder), home, spec))


@pytest.mark.parametrize("negative_prompt", ["", "a green banana"])
@pytest.mark.parametrize("masked", [True, False, None])
def test_a_mask_is_that_of_each_prompt(
    folders: Mapping[str, Path], tmp_path: Path, masked: bool | None, negative_prompt: str
) -> None:
    folder = with_config(folders["sd"], tmp_path, "text_encoder", use_attention_mask=masked)
    spec = replace(image("sd", sampler=Sampler.DDIM, steps=3, guidance=4.5), negative_prompt=negative_prompt)
    with torch.inference_mode():
        prompt, negative = pipeline_in(folder).encode_prompt(spec.prompt, "cpu", 1, True, negative_prompt)
    assert torch.equal(load_denoiser(folder, model="tiny").encode(spec)["text_BLT"], torch.cat((negative, prompt)))


def test_pixart_sigma_reads_300_tokens(folders: Mapping[str, Path]) -> None:
    found, base = FOUND_SCHEDULERS["pixart"], folders["sigma"]
    assert [load_denoiser(folders[home], model="tiny").facts.token_limit for home in ("pixart", "sigma")] == [120, 300]
    spec = image("sigma", sampler=found.sampler, steps=4, guidance=4.5, prompt="a red apple " * 90)
    assert_same(our_picture(base, spec), plain_picture(pipeline_of(base, base, found), "sigma", spec))
