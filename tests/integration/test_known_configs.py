"""Checkpoints without configs beside them: sizes that are known, and a vocabulary that was fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from polyrhythm_agent.denoiser.files.checkpoint import diffusers_folder
from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.denoiser.sampling.sampling import ModelSampling
from polyrhythm_agent.denoiser.sampling.scheduler_file import scheduler_config
from polyrhythm_agent.model_files.checkpoint_spec import NOTICES_FILE
from polyrhythm_agent.model_files.known_configs import (
    SDXL,
    STABLE_DIFFUSION_1,
    STABLE_DIFFUSION_2,
    STABLE_DIFFUSION_2_BASE,
    Architecture,
    write_configs,
)
from tests.tiny_models.original_layout import write_checkpoint
from tests.tiny_models.unets import tiny_sd_folder

PUBLISHED = {
    (STABLE_DIFFUSION_1.name, "unet"): 859_520_964,
    (STABLE_DIFFUSION_1.name, "vae"): 83_653_863,
    (STABLE_DIFFUSION_1.name, "text_encoder"): 123_060_480,
    (STABLE_DIFFUSION_2.name, "unet"): 865_910_724,
    (STABLE_DIFFUSION_2.name, "text_encoder"): 340_387_840,
    (SDXL.name, "unet"): 2_567_463_684,
    (SDXL.name, "text_encoder_2"): 694_659_840,
}
"""Parameters that these models have as they were published."""
KINDS: dict[str, Any] = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}
ARCHITECTURES = {each.name: each for each in (STABLE_DIFFUSION_1, STABLE_DIFFUSION_2, SDXL)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd_folder(tmp_path_factory.mktemp("tiny") / "sd")


@pytest.fixture(scope="module")
def vocabulary(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the hub has CLIP's: a table and its merges."""
    folder = tmp_path_factory.mktemp("clip")
    model = json.loads((tiny / "tokenizer" / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps({"!": 999, **model["vocab"]}))
    merges = [" ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    return folder


@pytest.mark.parametrize(("name", "part"), PUBLISHED, ids="-".join)
def test_parts_have_as_many_parameters_as_were_published(name: str, part: str) -> None:
    config, kind = ARCHITECTURES[name].files[f"{part}/config.json"], KINDS[part]
    with torch.device("meta"):
        module = kind(kind.config_class.from_dict(dict(config))) if "text" in part else kind.from_config(dict(config))
    assert sum(weight.numel() for weight in module.parameters()) == PUBLISHED[name, part]


@pytest.mark.parametrize(
    ("architecture", "samplers", "predicts"),
    [
        (STABLE_DIFFUSION_1, "ddim", "epsilon"),
        (STABLE_DIFFUSION_2, "ddim", "v_prediction"),
        (STABLE_DIFFUSION_2_BASE, "ddim", "epsilon"),
        (SDXL, "euler", "epsilon"),
    ],
    ids=lambda value: value.name if isinstance(value, Architecture) else "",
)
def test_schedules_and_tokenizers_are_read(
    architecture: Architecture, samplers: str, predicts: str, vocabulary: Path, tmp_path: Path
) -> None:
    folder = ModelFolder.open(write_configs(architecture, vocabulary, tmp_path))
    config = scheduler_config(folder)
    assert ModelSampling(config).samplers[0] == samplers
    assert config["prediction_type"] == predicts
    padding = [
        CLIPTokenizer.from_pretrained(folder.path, subfolder=tokenizer).pad_token
        for tokenizer in architecture.tokenizers
    ]
    assert padding == ["!" if "2" in architecture.name else "<|endoftext|>", "!"][: len(padding)]


def test_a_checkpoint_alone_is_the_model_that_its_folder_is(tiny: Path, vocabulary: Path, tmp_path: Path) -> None:
    """With the configs of a tiny model in the place of those that are known."""
    names = ("model_index.json", "scheduler/scheduler_config.json", *(f"{part}/config.json" for part in KINDS))
    described = {name: json.loads((tiny / name).read_text()) for name in names if (tiny / name).is_file()}
    tokenizer = dict(STABLE_DIFFUSION_1.files["tokenizer/tokenizer_config.json"], model_max_length=24)
    notice = {"notices": ["it is a guess"]}
    architecture = Architecture(
        name="tiny",
        files={**described, "tokenizer/tokenizer_config.json": tokenizer, NOTICES_FILE: notice},
        tokenizers=("tokenizer",),
    )
    (plain := tmp_path / "clip").mkdir()
    table = json.loads((vocabulary / "vocab.json").read_text())
    del table["!"]
    (plain / "vocab.json").write_text(json.dumps(table))
    (plain / "merges.txt").write_text((vocabulary / "merges.txt").read_text())
    checkpoint = write_checkpoint(tiny, tmp_path / "tiny.safetensors")
    configs = write_configs(architecture, plain, tmp_path / "cache")
    made = load_denoiser(diffusers_folder(checkpoint, configs, cache=tmp_path / "cache"), model="tiny")
    original = load_denoiser(tiny, model="tiny")
    assert made.facts.notices == ("it is a guess", *original.facts.notices)
    assert made.facts.default_width_px == original.facts.default_width_px
    assert made.count_tokens("a red apple", "prompt") == original.count_tokens("a red apple", "prompt")
