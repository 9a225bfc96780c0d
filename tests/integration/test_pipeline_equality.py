"""`exact` is the picture of diffusers' pipeline as a user loads it from the folder, whatever scheduler lies there.

The reference keeps the scheduler that its pipeline was loaded with. Where that is replaced here, it is the pipeline
loaded with the replacement, made of the first one's config. A whole picture is compared for every config in the family
where it is at home, and its schedule, a few numbers wide, in all the others.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch import Tensor

from polyrhythm.image import Sampler
from polyrhythm_agent.denoiser.folder import ModelFolder
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.denoiser.noise import PictureNoise
from polyrhythm_agent.denoiser.sampling import ModelSampling
from polyrhythm_agent.denoiser.scheduler_file import scheduler_config
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.ports import Geometry
from tests.found_schedulers import FOUND_SCHEDULERS, FoundScheduler
from tests.models import tiny_sigma_folder
from tests.pipelines import MAKERS, assert_same, image, our_picture, plain_picture, stand_in, with_scheduler
from tests.reference import relative_difference

AT_HOME = [name for name, found in FOUND_SCHEDULERS.items() if found.home]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


@cache
def modules(base: Path) -> dict[str, Any]:
    """All parts of a pipeline but its scheduler: they are the same in every folder made from this one."""
    pipeline = DiffusionPipeline.from_pretrained(base, local_files_only=True)
    return {name: part for name, part in pipeline.components.items() if part is not None and name != "scheduler"}


def pipeline_of(base: Path, folder: Path, found: FoundScheduler) -> Any:
    """As a user loads it; with the scheduler that stands in, where one does."""
    loaded: Any = DiffusionPipeline.from_pretrained(folder, local_files_only=True, **modules(base))
    if found.stands_in:
        other = stand_in(loaded.scheduler, found.sampler)
        loaded = DiffusionPipeline.from_pretrained(folder, local_files_only=True, **modules(base), scheduler=other)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.mark.parametrize("name", AT_HOME)
def test_exact_is_the_pipelines_picture(bases: dict[str, Path], tmp_path: Path, name: str) -> None:
    found = FOUND_SCHEDULERS[name]
    base = bases[found.home]
    folder = with_scheduler(base, tmp_path, found.kind, found.file)
    spec = image(found.home, sampler=found.sampler, steps=found.steps, guidance=found.guidance)
    assert_same(our_picture(folder, spec), plain_picture(pipeline_of(base, folder, found), found.home, spec))


GEOMETRY = Geometry(
    row_count=3, latent_rows_per_unit=2, latent_channels=4, latent_height=6, latent_width=5, layers=(), batch=1
)
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
def test_every_familys_schedule_is_its_pipelines(bases: dict[str, Path], tmp_path: Path, name: str) -> None:
    found = FOUND_SCHEDULERS[name]
    for home in ("sd", "sdxl", "pixart", "dit"):
        if runs(home, found):
            path = tmp_path / home
            path.mkdir()
            folder = with_scheduler(bases[home], path, found.kind, found.file)
            expected_BCHW = plain_schedule(pipeline_of(bases[home], folder, found))
            assert relative_difference(our_schedule(folder, found), expected_BCHW) <= SCHEDULE_TOLERANCE, home


@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("home", ["sdxl", "sigma", "dit"])
def test_guidance_up_to_1_is_no_guidance(bases: dict[str, Path], home: str, guidance: float) -> None:
    found = FOUND_SCHEDULERS["dit"]
    base = bases[home]
    sampler = Sampler(load_denoiser(base, model="tiny").facts.samplers[0])
    spec = image(home, sampler=sampler, steps=4, guidance=guidance)
    assert_same(our_picture(base, spec), plain_picture(pipeline_of(base, base, found), home, spec))


def test_pixart_alpha_takes_a_picture_of_one_step_as_it_is_predicted(bases: dict[str, Path], tmp_path: Path) -> None:
    # The schedule itself would end at the first trained timestep.
    found = FOUND_SCHEDULERS["pixart clipping ddim"]
    folder = with_scheduler(bases["pixart"], tmp_path, found.kind, {**found.file, "set_alpha_to_one": False})
    spec = image("pixart", sampler=Sampler.DDIM, steps=1, guidance=1.0)
    assert_same(our_picture(folder, spec), plain_picture(pipeline_of(bases["pixart"], folder, found), "pixart", spec))


def test_pixart_sigma_reads_300_tokens(bases: dict[str, Path]) -> None:
    found, base = FOUND_SCHEDULERS["pixart"], bases["sigma"]
    assert [load_denoiser(bases[home], model="tiny").facts.token_limit for home in ("pixart", "sigma")] == [120, 300]
    spec = image("sigma", sampler=found.sampler, steps=4, guidance=4.5, prompt="a red apple " * 90)
    assert_same(our_picture(base, spec), plain_picture(pipeline_of(base, base, found), "sigma", spec))


def test_pixart_sigma_is_told_no_sizes(tmp_path: Path) -> None:
    folder = tiny_sigma_folder(tmp_path, sample_size=128, heads=3)
    with pytest.raises(ModelFolderError, match="use_additional_conditions=True, but PixArt-Sigma is told no sizes"):
        load_denoiser(folder, model="tiny")


FIRST_DDIM = FOUND_SCHEDULERS["sd clipping ddim"]


@pytest.mark.parametrize("kind", ["PNDMScheduler", "EulerDiscreteScheduler"])
def test_the_index_names_the_scheduler_whatever_its_file_says(
    bases: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    folder = with_scheduler(bases["sdxl"], tmp_path, kind, FIRST_DDIM.file | {"_class_name": "DDIMScheduler"})
    facts = load_denoiser(folder, model="tiny").facts
    assert facts.samplers[0] == {"PNDMScheduler": "ddim", "EulerDiscreteScheduler": "euler"}[kind]
    assert len(facts.notices) == (kind == "PNDMScheduler")


def test_a_scheduler_of_other_code_is_refused_by_name(bases: dict[str, Path], tmp_path: Path) -> None:
    folder = with_scheduler(bases["sd"], tmp_path, "DDIMScheduler", FIRST_DDIM.file)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"scheduler": ["scheduler", "MyScheduler"]}))
    with pytest.raises(ModelFolderError, match=r"scheduler: MyScheduler in model_index\.json is code of scheduler"):
        load_denoiser(folder, model="tiny")


@pytest.mark.parametrize(("version", "size", "side_px"), [("0.6.0", 32, 512), ("0.9.0", 32, 256), ("0.6.0", 96, 768)])
def test_old_files_mean_the_size_that_the_pipeline_takes(
    bases: dict[str, Path], tmp_path: Path, version: str, size: int, side_px: int
) -> None:
    folder = with_config(bases["sd"], tmp_path, "unet", _diffusers_version=version, sample_size=size)
    pipeline: Any = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    facts = load_denoiser(folder, model="tiny").facts
    assert pipeline.unet.config.sample_size * pipeline.vae_scale_factor == side_px
    assert (facts.default_width_px, facts.default_height_px) == (side_px, side_px)


def test_a_model_may_be_trained_on_oblong_pictures(bases: dict[str, Path], tmp_path: Path) -> None:
    folder = with_config(bases["sd"], tmp_path, "unet", sample_size=[64, 96])
    facts = load_denoiser(folder, model="tiny").facts
    assert (facts.default_height_px, facts.default_width_px) == (512, 768)
    assert facts.pixels_max == 16 * 512 * 768


def with_config(base: Path, path: Path, part: str, **changes: Any) -> Path:
    """The same model in a new folder, with another config of a part."""
    folder = with_scheduler(base, path, FIRST_DDIM.kind, FIRST_DDIM.file)
    config = json.loads((base / part / "config.json").read_text()) | changes
    (folder / part).unlink()
    (folder / part).mkdir()
    for file in (base / part).iterdir():
        if file.name != "config.json":
            (folder / part / file.name).symlink_to(file)
    (folder / part / "config.json").write_text(json.dumps(config))
    return folder
