"""Metadata of a single file, and tensors that are no weights, say how it is sampled: obeyed, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from diffusers.schedulers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler
from safetensors.torch import save_file
from torch import Tensor

from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.denoiser.files.checkpoint import diffusers_folder
from polyrhythm_agent.denoiser.files.checkpoint_marks import Configs, marked_configs
from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.model_files.checkpoint_file import CheckpointHeader
from tests.oracles.pipelines import assert_same, image, our_picture, plain_picture, with_scheduler
from tests.tiny_models.original_layout import original_checkpoint, write_checkpoint

SCHEDULE = "scheduler/scheduler_config.json"
SDXL_NAMES = (
    "model.diffusion_model.a",
    "first_stage_model.a",
    "conditioner.embedders.0.transformer.a",
    "conditioner.embedders.1.model.a",
)
MEAN, DEVIATION = [-1.6, 1.1, 0.4, -0.2], [8.4, 6.3, 5.9, 7.2]
MARKS: Mapping[str, dict[str, Tensor]] = {
    "velocity": {"v_pred": torch.empty(0), "ztsnr": torch.empty(0)},
    "edm": {"edm_mean": torch.tensor(MEAN).view(1, 4, 1, 1), "edm_std": torch.tensor(DEVIATION).view(1, 4, 1, 1)},
    "edm velocity": {"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.01)},
}


@pytest.fixture(scope="module")
def base(folders: Mapping[str, Path]) -> Path:
    return folders["sdxl"]


def as_a_user_would(base: Path, name: str) -> Any:
    """The pipeline with what is said of such models in their cards."""
    pipeline: Any = DiffusionPipeline.from_pretrained(base, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    match name:
        case "velocity":
            options = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
            pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, **options)
        case "edm":
            pipeline.scheduler = EDMDPMSolverMultistepScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
            pipeline.vae.register_to_config(latents_mean=MEAN, latents_std=DEVIATION)
        case _:
            pipeline.scheduler = EDMEulerScheduler(
                sigma_min=0.01,
                sigma_max=120.0,
                sigma_data=1.0,
                prediction_type="v_prediction",
                sigma_schedule="exponential",
            )
    return pipeline


def said(configs: Path, marks: Mapping[str, Tensor], **metadata: str) -> Configs:
    """What becomes of the configs of a file of SDXL's names."""
    header = CheckpointHeader(
        tensors=dict.fromkeys([*SDXL_NAMES, *marks], "F32"),
        metadata={f"modelspec.{name}": value for name, value in metadata.items()},
    )
    return marked_configs(header, marks, ModelFolder.open(configs))


@pytest.mark.parametrize(
    ("name", "sampler"),
    [("velocity", Sampler.DDIM), ("edm", Sampler.DPM_SOLVER_PP_2M), ("edm velocity", Sampler.EULER)],
)
def test_a_marked_file_is_sampled_as_it_says(base: Path, tmp_path: Path, name: str, sampler: Sampler) -> None:
    checkpoint = write_checkpoint(base, tmp_path / "tiny.safetensors", original_checkpoint(base) | MARKS[name])
    converted = diffusers_folder(checkpoint, base, cache=tmp_path / "cache")
    spec = image("sdxl", sampler=sampler, steps=6, guidance=5.0)
    assert_same(our_picture(converted, spec), plain_picture(as_a_user_would(base, name), "sdxl", spec))


def test_a_file_without_marks_changes_no_config(base: Path) -> None:
    assert said(base, {}) == {}
    assert said(base, {}, prediction_type="epsilon", architecture="stable-diffusion-xl-v1-base", title="x") == {}


def test_configs_that_know_the_form_keep_what_no_mark_names(base: Path, tmp_path: Path) -> None:
    known = {"_class_name": "EDMEulerScheduler", "sigma_data": 0.7, "sigma_max": 60.0}
    folder = with_scheduler(base, tmp_path, "EDMEulerScheduler", known)
    scheduler = said(folder, MARKS["edm velocity"])["scheduler/scheduler_config.json"]
    assert scheduler == known | {
        "prediction_type": "v_prediction",
        "sigma_max": 120.0,
        "sigma_min": pytest.approx(0.01),
    }


@pytest.mark.parametrize(
    ("marks", "kind", "named"),
    [
        ({"edm_std": torch.zeros(4)}, "DDIMScheduler", "the checkpoint has edm_std, and of edm_mean, edm_std both"),
        (
            MARKS["velocity"],
            "FlowMatchEulerDiscreteScheduler",
            "has v_pred, ztsnr, and FlowMatchEulerDiscreteScheduler",
        ),
        (
            {"edm_vpred.sigma_min": torch.tensor(0.1)},
            "DDIMScheduler",
            "has edm_vpred.sigma_min, and not edm_vpred.sigma_max",
        ),
        (MARKS["velocity"], "EDMEulerScheduler", "has v_pred, ztsnr, and EDMEulerScheduler"),
        (MARKS["edm"] | {"ztsnr": torch.empty(0)}, "DDIMScheduler", "has ztsnr, and edm_mean knows no such"),
        (
            MARKS["edm"] | {"v_pred": torch.empty(0)},
            "DDIMScheduler",
            "contradicts itself: v_pred says v_prediction, ed",
        ),
    ],
)
def test_marks_that_cannot_be_followed_are_refused_by_name(
    base: Path, tmp_path: Path, marks: dict[str, Tensor], kind: str, named: str
) -> None:
    folder = with_scheduler(base, tmp_path, kind, json.loads(json.dumps({"_class_name": kind})))
    with pytest.raises(ModelFolderError, match=named):
        said(folder, marks)


@pytest.mark.parametrize("value", ["v", " V", "v_prediction"])
def test_metadata_are_obeyed_whatever_the_configs_say(base: Path, value: str) -> None:
    assert json.loads((base / SCHEDULE).read_text())["prediction_type"] == "epsilon"
    assert said(base, {}, prediction_type=value)[SCHEDULE]["prediction_type"] == "v_prediction"


def test_metadata_take_configs_back_to_noise(base: Path, tmp_path: Path) -> None:
    known = {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction", "beta_end": 0.013}
    folder = with_scheduler(base, tmp_path, "DDIMScheduler", known)
    assert said(folder, {}, prediction_type="epsilon")[SCHEDULE] == known | {"prediction_type": "epsilon"}
    assert said(folder, {"v_pred": torch.empty(0)}, prediction_type="v") == {}


def test_a_file_of_metadata_is_sampled_as_they_say(base: Path, tmp_path: Path) -> None:
    weights = {name: value.contiguous() for name, value in original_checkpoint(base).items()}
    metadata = {"modelspec.prediction_type": "v", "modelspec.architecture": "stable-diffusion-xl-v1-base"}
    save_file(weights, checkpoint := tmp_path / "tiny.safetensors", metadata)
    converted = diffusers_folder(checkpoint, base, cache=tmp_path / "cache")
    spec = image("sdxl", sampler=Sampler.DDIM, steps=6, guidance=5.0)
    pipeline: Any = DiffusionPipeline.from_pretrained(base, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, prediction_type="v_prediction")
    assert_same(our_picture(converted, spec), plain_picture(pipeline, "sdxl", spec))
    assert load_denoiser(converted, model="tiny").facts.notices == ()


CONTRADICTIONS: Mapping[str, tuple[dict[str, Tensor], dict[str, str], str]] = {
    "a tensor": (
        {"v_pred": torch.empty(0)},
        {"prediction_type": "epsilon"},
        "contradicts itself: v_pred says v_prediction, modelspec.prediction_type epsilon says epsilon",
    ),
    "other latents": (MARKS["edm"], {"prediction_type": "v"}, "edm_mean says epsilon, .* v says v_prediction"),
    "another model": (
        {},
        {"architecture": "stable-diffusion-v1"},
        "is stable-diffusion-v1, .* of stable-diffusion-xl-v1",
    ),
    "something unknown": (
        {},
        {"prediction_type": "flow"},
        "prediction_type is flow; known are epsilon, v, v_prediction",
    ),
}


@pytest.mark.parametrize(("marks", "metadata", "told"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_file_that_contradicts_itself_is_refused_by_name(
    base: Path, marks: dict[str, Tensor], metadata: dict[str, str], told: str
) -> None:
    with pytest.raises(ModelFolderError, match=told):
        said(base, marks, **metadata)


def test_flow_matching_knows_neither_of_both_predictions(base: Path, tmp_path: Path) -> None:
    kind = "FlowMatchEulerDiscreteScheduler"
    folder = with_scheduler(base, tmp_path, kind, {"_class_name": kind})
    with pytest.raises(ModelFolderError, match=r"has modelspec\.prediction_type epsilon, and FlowMatch"):
        said(folder, {}, prediction_type="epsilon")


def test_a_layer_that_is_not_read_is_told(folders: Mapping[str, Path], tmp_path: Path) -> None:
    base = folders["sd"]
    weights = {name: value.contiguous() for name, value in original_checkpoint(base).items()}
    for layer, told in (("1", 0), ("2", 1)):
        save_file(weights, checkpoint := tmp_path / "tiny.safetensors", {"modelspec.encoder_layer": layer})
        converted = diffusers_folder(checkpoint, base, cache=tmp_path / "cache")
        notices = load_denoiser(converted, model="tiny").facts.notices
        assert len(notices) == told
        assert all("trained with layer 2 of its text encoder" in notice for notice in notices)
