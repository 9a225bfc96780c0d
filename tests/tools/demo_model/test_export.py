"""An exported demo UNet is an ordinary diffusers folder, and training goes on from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from demo_model.autoencoder import new_autoencoder
from demo_model.checkpoint import load_checkpoint
from demo_model.clip import new_clip_encoder
from demo_model.denoiser import Recipe, Stage, Training
from demo_model.evaluate import load
from demo_model.export import LIMIT_BYTES, ExportError, export_pipeline
from demo_model.families import FAMILIES, family_of
from demo_model.restart import restart_from
from demo_model.text import all_captions
from diffusers import StableDiffusionPipeline
from transformers import CLIPTokenizer

FAMILY = FAMILIES["unet"]
RECIPE = Recipe(
    stages=(Stage(size_px=64, batch=8, end_step=10),),
    peak_rate=1e-3,
    decay_steps=5,
    seed=3,
    save_every_s=60,
    threads=1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    training = Training.start(FAMILY, seed=3, peak_rate=1e-3)
    text_encoder = new_clip_encoder(len(FAMILY.new_tokenizer()))
    pipeline = FAMILY.new_pipeline(new_autoencoder(), text_encoder, training.denoiser)
    size_bytes = export_pipeline(pipeline, folder)
    assert size_bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size_bytes <= LIMIT_BYTES
    return folder


def test_diffusers_draws_from_the_folder(folder: Path) -> None:
    pipeline = load(FAMILY, folder)
    assert isinstance(pipeline, StableDiffusionPipeline)
    picture = pipeline("fox face on a blue background", height=32, width=32, num_inference_steps=2)[0][0]
    assert picture.size == (32, 32)
    assert pipeline.config["requires_safety_checker"] is False
    assert pipeline.scheduler.config["prediction_type"] == "epsilon"


def test_no_path_of_the_machine_is_left_in_the_folder(folder: Path) -> None:
    for path in folder.rglob("*.json"):
        text = path.read_text()
        assert "_name_or_path" not in text, path
        assert str(folder.parent) not in text, path
    assert not list(folder.rglob("*.bin"))


def test_the_vocabulary_is_there_in_both_forms_of_clip(folder: Path, tmp_path: Path) -> None:
    vocabulary = json.loads((folder / "tokenizer" / "vocab.json").read_text())
    merges = (folder / "tokenizer" / "merges.txt").read_text().splitlines()[1:]
    pairs: Any = [tuple(line.split(" ")) for line in merges]  # transformers' own annotation leaves out pairs
    classic = CLIPTokenizer(vocab=vocabulary, merges=pairs)
    loaded = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    expected = FAMILY.new_tokenizer()(all_captions()).input_ids
    assert classic(all_captions()).input_ids == loaded(all_captions()).input_ids == expected


def test_weights_can_be_read_by_everybody(folder: Path) -> None:
    assert {path.stat().st_mode & 0o044 for path in folder.rglob("*.safetensors")} == {0o044}


def test_training_goes_on_from_the_folder(folder: Path, tmp_path: Path) -> None:
    restart_from(family_of(folder), folder, tmp_path, step=4, recipe=RECIPE)
    training = Training.start(FAMILY, seed=99, peak_rate=1e-3)
    assert load_checkpoint(tmp_path / "denoiser.pt", training.parts()) == 4
    exported = FAMILY.load_denoiser(folder / "unet").state_dict()
    for model in (training.denoiser, training.average.module):
        assert all(torch.equal(exported[name], value) for name, value in model.state_dict().items())
    assert (tmp_path / "vae" / "config.json").is_file()
    assert FAMILY.load_text_encoder(tmp_path / "text_encoder").dtype == torch.float32


def test_a_checkpoint_is_not_overwritten_by_an_export(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "denoiser.pt").write_bytes(b"newer")
    with pytest.raises(FileExistsError, match="newer than any export"):
        restart_from(FAMILY, folder, tmp_path, step=4, recipe=RECIPE)


def test_a_folder_over_the_limit_is_refused(folder: Path) -> None:
    (folder / "ballast").write_bytes(bytes(LIMIT_BYTES))
    try:
        with pytest.raises(ExportError, match=r"folder: .* the limit is"):
            export_pipeline(StableDiffusionPipeline.from_pretrained(folder, local_files_only=True), folder)
    finally:
        (folder / "ballast").unlink()
