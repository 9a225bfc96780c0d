"""What index and configs of a folder mean here is what diffusers' pipelines take them for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from diffusers import DiffusionPipeline

from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.errors import ModelFolderError
from tests.oracles.found_schedulers import FOUND_SCHEDULERS
from tests.oracles.pipelines import with_config, with_scheduler
from tests.tiny_models.transformers import tiny_sigma_folder


def test_pixart_sigma_is_told_no_sizes(tmp_path: Path) -> None:
    folder = tiny_sigma_folder(tmp_path, sample_size=128, heads=3)
    with pytest.raises(ModelFolderError, match="use_additional_conditions=True, but PixArt-Sigma is told no sizes"):
        load_denoiser(folder, model="tiny")


FIRST_DDIM = FOUND_SCHEDULERS["sd clipping ddim"]


@pytest.mark.parametrize("kind", ["PNDMScheduler", "EulerDiscreteScheduler"])
def test_the_index_names_the_scheduler_whatever_its_file_says(
    folders: Mapping[str, Path], tmp_path: Path, kind: str
) -> None:
    folder = with_scheduler(folders["sdxl"], tmp_path, kind, FIRST_DDIM.file | {"_class_name": "DDIMScheduler"})
    facts = load_denoiser(folder, model="tiny").facts
    assert facts.samplers[0] == {"PNDMScheduler": "ddim", "EulerDiscreteScheduler": "euler"}[kind]
    assert len(facts.notices) == (kind == "PNDMScheduler")


def test_a_scheduler_of_other_code_is_refused_by_name(folders: Mapping[str, Path], tmp_path: Path) -> None:
    folder = with_scheduler(folders["sd"], tmp_path, "DDIMScheduler", FIRST_DDIM.file)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"scheduler": ["scheduler", "MyScheduler"]}))
    with pytest.raises(ModelFolderError, match=r"scheduler: MyScheduler in model_index\.json is code of scheduler"):
        load_denoiser(folder, model="tiny")


@pytest.mark.parametrize(("version", "size", "side_px"), [("0.6.0", 32, 512), ("0.9.0", 32, 256), ("0.6.0", 96, 768)])
def test_old_files_mean_the_size_that_the_pipeline_takes(
    folders: Mapping[str, Path], tmp_path: Path, version: str, size: int, side_px: int
) -> None:
    folder = with_config(folders["sd"], tmp_path, "unet", _diffusers_version=version, sample_size=size)
    pipeline: Any = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    facts = load_denoiser(folder, model="tiny").facts
    assert pipeline.unet.config.sample_size * pipeline.vae_scale_factor == side_px
    assert (facts.default_width_px, facts.default_height_px) == (side_px, side_px)


def test_a_model_may_be_trained_on_oblong_pictures(folders: Mapping[str, Path], tmp_path: Path) -> None:
    folder = with_config(folders["sd"], tmp_path, "unet", sample_size=[64, 96])
    facts = load_denoiser(folder, model="tiny").facts
    assert (facts.default_height_px, facts.default_width_px) == (512, 768)
    assert facts.pixels_max == 16 * 512 * 768
