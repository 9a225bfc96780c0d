"""One device through this project's forward and samplers paints what plain diffusers paints.

Tolerance: 1e-5 (fp32) and 1e-9 (fp64) times max(1, max |latent|). The measured differences are recorded as properties
of the test report, beside the noise floor of one device: diffusers against itself, guidance in two forwards not in one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)

from polyrhythm.job.image import ImageSpec
from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.rows import RowRange, ranges_from_counts
from polyrhythm_agent.denoiser.layers.solo import NoObserver, SoloExchange
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.denoiser.sampling.scheduler_config import OWN_SAMPLER_BY_CLASS
from polyrhythm_agent.ports.denoiser import Denoiser, DenoiserRun
from tests.oracles.reference import SplitGuidance, plain_latent, plain_pipeline, relative_difference
from tests.tiny_models.families import FAMILIES, HALVES, choice_id
from tests.tiny_models.transformers import BETA_END, tiny_pixart_folder
from tests.worlds.gang import solo_latent

JUMPING_SAMPLERS = [Sampler.DDIM, Sampler.DPM_SOLVER_PP_2M]
"""What every family's pipeline runs with; DiT's knows nothing of the scaling that Euler's schedulers ask for."""

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-9}
Record = Callable[[str, object], None]


def started(denoiser: Denoiser, spec: ImageSpec) -> DenoiserRun:
    return denoiser.start(spec, denoiser.encode(spec))


def assert_same_picture(folder: Path, spec: ImageSpec, dtype: torch.dtype, record: Record) -> None:
    run = started(load_denoiser(folder, model="tiny", dtype=dtype), spec)
    expected_BCHW = plain_latent(plain_pipeline(folder, spec.sampler, dtype), spec, run.initial_noise())
    difference = relative_difference(solo_latent(run, spec.steps), expected_BCHW)
    record("relative_difference", difference)
    record("latent_max", float(expected_BCHW.abs().max()))
    assert expected_BCHW.dtype is dtype
    assert difference <= TOLERANCES[dtype]


ONE_DEVICE = [
    (16, 12, Sampler.DDIM, torch.float32),
    (16, 12, Sampler.DPM_SOLVER_PP_2M, torch.float64),
    (24, 12, Sampler.DDIM, torch.float64),
    (24, 12, Sampler.DPM_SOLVER_PP_2M, torch.float32),
    (16, 19, Sampler.DDIM, torch.float32),
    (16, 19, Sampler.DPM_SOLVER_PP_2M, torch.float64),
]
"""Every pair of two of these choices; below 15 steps DPM-Solver++ ends with a step of first order."""


@pytest.mark.parametrize(("rows", "steps", "sampler", "dtype"), ONE_DEVICE, ids=choice_id)
@pytest.mark.parametrize("family", FAMILIES)
def test_one_device_is_diffusers(
    folder: Path, family: str, rows: int, steps: int, sampler: Sampler, dtype: torch.dtype, record_property: Record
) -> None:
    spec = FAMILIES[family].image(sampler=sampler, rows=rows, steps=steps)
    assert_same_picture(folder, spec, dtype, record_property)


@pytest.mark.parametrize(("rows", "sampler"), list(zip((16, 24), JUMPING_SAMPLERS, strict=True)))
@pytest.mark.parametrize("family", FAMILIES)
def test_noise_floor_of_one_device(
    folder: Path, family: str, rows: int, sampler: Sampler, record_property: Record
) -> None:
    spec = FAMILIES[family].image(sampler=sampler, rows=rows)
    noise_BCHW = started(load_denoiser(folder, model="tiny"), spec).initial_noise()
    batched, split = plain_pipeline(folder, sampler), plain_pipeline(folder, sampler)
    part = "unet" if "unet" in split.components else "transformer"
    setattr(split, part, SplitGuidance(getattr(split, part)))
    floor = relative_difference(plain_latent(split, spec, noise_BCHW), plain_latent(batched, spec, noise_BCHW))
    record_property("relative_difference", floor)
    # The tolerance would mean nothing if one device did not keep to it against itself.
    assert floor <= TOLERANCES[torch.float32]


@pytest.mark.parametrize(("dtype", "sampler"), HALVES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_schedule_that_models_are_trained_with(
    tmp_path: Path, family: str, dtype: torch.dtype, sampler: Sampler, record_property: Record
) -> None:
    scheduler = DPMSolverMultistepScheduler(steps_offset=1)
    folder = FAMILIES[family].make(tmp_path / "m", scheduler=scheduler)
    assert_same_picture(folder, FAMILIES[family].image(sampler=sampler), dtype, record_property)


@pytest.mark.parametrize("sampler", JUMPING_SAMPLERS)
@pytest.mark.parametrize(
    "scheduler",
    [
        DDIMScheduler(beta_end=BETA_END, prediction_type="v_prediction", timestep_spacing="trailing"),
        DPMSolverMultistepScheduler(beta_end=BETA_END, prediction_type="sample", solver_type="heun"),
    ],
    ids=["velocity", "clean"],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_other_schedulers_configs(
    tmp_path: Path, family: str, sampler: Sampler, scheduler: Any, record_property: Record
) -> None:
    scheduler.register_to_config(clip_sample=False, steps_offset=1)
    folder = FAMILIES[family].make(tmp_path / "m", scheduler=scheduler)
    assert_same_picture(folder, FAMILIES[family].image(sampler=sampler), torch.float64, record_property)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "scheduler",
    [
        EulerDiscreteScheduler(beta_end=BETA_END, timestep_spacing="leading", steps_offset=1),
        EulerDiscreteScheduler(beta_end=BETA_END, timestep_spacing="trailing", prediction_type="v_prediction"),
        EulerDiscreteScheduler(beta_end=BETA_END, use_karras_sigmas=True),
        EulerAncestralDiscreteScheduler(beta_end=BETA_END, timestep_spacing="leading", prediction_type="v_prediction"),
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_image_seq_len=16, max_image_seq_len=512),
    ],
    ids=["leading", "trailing velocity", "karras", "ancestral velocity", "flow", "flow by size"],
)
def test_euler_in_all_its_forms(tmp_path: Path, dtype: torch.dtype, scheduler: Any, record_property: Record) -> None:
    folder = tiny_pixart_folder(tmp_path / "m", scheduler=scheduler)
    own = OWN_SAMPLER_BY_CLASS[type(scheduler).__name__]
    assert_same_picture(folder, FAMILIES["pixart"].image(sampler=own, rows=24), dtype, record_property)


@pytest.mark.parametrize("counts", [(24,), (7, 17), (1, 12, 4, 7)])
def test_ancestral_noise_is_cut_from_that_of_the_whole_picture(tmp_path: Path, counts: tuple[int, ...]) -> None:
    folder = tiny_pixart_folder(tmp_path / "m")
    spec = FAMILIES["pixart"].image(sampler=Sampler.EULER_ANCESTRAL, rows=24)
    run = started(load_denoiser(folder, model="tiny", dtype=torch.float64), spec)
    x_BCHW = run.initial_noise()
    whole = RowRange(begin=0, end=24)
    for step in (0, 1, 7):
        expected_BCHW, _ = run.advance(x_BCHW, 0.1 * x_BCHW, step, step + 1, x_BCHW, [-1] * 24, rows=whole)
        for rows in ranges_from_counts(counts):
            own = run.geometry.latent_slice(rows)
            patch_BCHW = x_BCHW[:, :, own]
            history = [-1] * rows.count
            own_BCHW, _ = run.advance(patch_BCHW, 0.1 * patch_BCHW, step, step + 1, patch_BCHW, history, rows=rows)
            assert torch.equal(own_BCHW, expected_BCHW[:, :, own])


@pytest.mark.parametrize(
    ("family", "changes"), [(name, changes) for name, family in FAMILIES.items() for changes in family.other_pictures]
)
def test_other_pictures(folder: Path, family: str, changes: Mapping[str, Any], record_property: Record) -> None:
    assert_same_picture(folder, FAMILIES[family].image(**changes), torch.float64, record_property)


def test_a_model_that_is_told_the_size_of_the_whole_picture(tmp_path: Path, record_property: Record) -> None:
    # diffusers' pipeline hands size and aspect ratio to models of sample size 128.
    folder = tiny_pixart_folder(tmp_path / "m", sample_size=128, heads=3)
    spec = FAMILIES["pixart"].image(rows=24)
    assert started(load_denoiser(folder, model="tiny"), spec).geometry.batch == 2
    assert_same_picture(folder, spec, torch.float64, record_property)


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_keeps_an_fp32_state(folder: Path, family: str) -> None:
    spec = FAMILIES[family].image(sampler=Sampler.DPM_SOLVER_PP_2M)
    # In bfloat16 the rounding of as many layers as a UNet has is as large as what random ones predict.
    half = torch.bfloat16 if FAMILIES[family].tokens_only else torch.float16
    denoiser = load_denoiser(folder, model="tiny", dtype=half)
    run = started(denoiser, spec)
    prediction_BCHW = run.predict(
        run.initial_noise(), 0, RowRange(begin=0, end=run.geometry.row_count), SoloExchange(), NoObserver()
    )
    assert denoiser.facts.dtype == str(half).removeprefix("torch.")
    assert prediction_BCHW.dtype is torch.float32
    whole = load_denoiser(folder, model="tiny")
    full = started(whole, spec)
    cell_bytes = [group.cell_bytes for group in whole.facts.exchanged if group.kind is LayerKind.TOKENS]
    assert [2 * group.cell_bytes for group in denoiser.facts.exchanged if group.kind is LayerKind.TOKENS] == cell_bytes
    exact_BCHW = full.predict(
        full.initial_noise(), 0, RowRange(begin=0, end=run.geometry.row_count), SoloExchange(), NoObserver()
    )
    assert 0 < relative_difference(prediction_BCHW, exact_BCHW) < 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_is_the_same_noise_in_every_precision(folder: Path, family: str) -> None:
    spec = FAMILIES[family].image()
    noise = {
        dtype: started(load_denoiser(folder, model="tiny", dtype=dtype), spec).initial_noise() for dtype in TOLERANCES
    }
    assert torch.equal(noise[torch.float32].double(), noise[torch.float64])
    largest = started(load_denoiser(folder, model="tiny"), spec.with_seed(2**64 - 1)).initial_noise()
    drawn = torch.randn(largest.shape, generator=torch.Generator().manual_seed(2**64 - 1))
    assert torch.equal(largest, drawn)
    other = started(load_denoiser(folder, model="tiny"), spec.with_seed(12)).initial_noise()
    assert not torch.equal(other, noise[torch.float32])
