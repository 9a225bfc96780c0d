"""Tensors of a single file that are no weights say how it is sampled: they are obeyed, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from diffusers.schedulers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler
from torch import Tensor

from polyrhythm.image import Sampler
from polyrhythm_agent.denoiser.checkpoint import diffusers_folder
from polyrhythm_agent.denoiser.checkpoint_marks import marked_configs
from polyrhythm_agent.denoiser.folder import ModelFolder
from polyrhythm_agent.errors import ModelFolderError
from tests.original_layout import original_checkpoint, write_checkpoint
from tests.pipelines import assert_same, image, our_picture, plain_picture, with_scheduler

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
    assert marked_configs({"model.diffusion_model.x": torch.zeros(1)}, ModelFolder.open(base)) == {}


def test_configs_that_know_the_form_keep_what_no_mark_names(base: Path, tmp_path: Path) -> None:
    known = {"_class_name": "EDMEulerScheduler", "sigma_data": 0.7, "sigma_max": 60.0}
    folder = ModelFolder.open(with_scheduler(base, tmp_path, "EDMEulerScheduler", known))
    scheduler = marked_configs(MARKS["edm velocity"], folder)["scheduler/scheduler_config.json"]
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
    ],
)
def test_marks_that_cannot_be_followed_are_refused_by_name(
    base: Path, tmp_path: Path, marks: dict[str, Tensor], kind: str, named: str
) -> None:
    folder = with_scheduler(base, tmp_path, kind, json.loads(json.dumps({"_class_name": kind})))
    with pytest.raises(ModelFolderError, match=named):
        marked_configs(marks, ModelFolder.open(folder))
