"""Equal models have one fingerprint, however their text files are written; what changes the picture shows in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from polyrhythm.model.facts import ModelFacts
from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.calibration.file import CALIBRATION_FILE, read_calibrations
from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.denoiser.sampling.scheduler_file import scheduler_config
from polyrhythm_agent.model_files.folder_text import BOM
from tests.oracles.pipelines import image
from tests.values.json_order import upside_down

MODELS = Path(__file__).parents[2] / "models"
TEXT_CONFIG, UNET_CONFIG = "text_encoder/config.json", "unet/config.json"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"
SCHEDULE = "scheduler/scheduler_config.json"
VOCABULARY = "tokenizer/vocab.json"
Change = Callable[[Path], object]
Read = tuple[dict[str, torch.Tensor], dict[str, Any], ModelFacts]


@pytest.fixture(scope="module", params=["tokenizer.json", "vocab.json"])
def original(
    folders: Mapping[str, Path], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """With its tokenizer in one file, or in two as older ones are."""
    folder = shutil.copytree(folders["sd"], tmp_path_factory.mktemp("original") / "sd")
    leave_out(SCHEDULE, "thresholding")(folder)
    if request.param == "vocab.json":
        model = json.loads((folder / TOKENIZER).read_text())["model"]
        (folder / VOCABULARY).write_text(json.dumps(model["vocab"]))
        merges = "\n".join(["#version: 0.2", *map(" ".join, model["merges"])])
        (folder / "tokenizer" / "merges.txt").write_text(merges)
        (folder / TOKENIZER).unlink()
    return folder


@pytest.fixture(scope="module")
def known(original: Path) -> Read:
    return read(original)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "sd")


def files(folder: Path) -> list[Path]:
    return [file for file in folder.glob("*/*") if file.suffix in {".json", ".txt"}]


def rewrite(folder: Path, write: Callable[[Any], str]) -> None:
    for file in folder.glob("*/*.json"):
        file.write_text(write(json.loads(file.read_text())))


def say(name: str, **values: object) -> Change:
    def change(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return change


def leave_out(name: str, *keys: str) -> Change:
    def change(folder: Path) -> None:
        file = folder / name
        kept = {key: value for key, value in json.loads(file.read_text()).items() if key not in keys}
        file.write_text(json.dumps(kept))

    return change


def mark_byte_order(folder: Path) -> None:
    for file in files(folder):
        file.write_bytes(BOM + file.read_bytes())


def end_lines_as_windows_does(folder: Path) -> None:
    for file in files(folder):
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))


def rename_the_weights(folder: Path) -> None:
    (folder / "text_encoder" / "model.safetensors").rename(folder / "text_encoder" / "other.safetensors")
    say(TEXT_CONFIG, transformers_weights="other.safetensors")(folder)


SAME: Mapping[str, Change] = {
    "on one line": lambda folder: rewrite(folder, lambda value: json.dumps(value, separators=(",", ":"))),
    "sorted": lambda folder: rewrite(folder, lambda value: json.dumps(value, sort_keys=True, indent=3)),
    "in another order": lambda folder: rewrite(folder, lambda value: json.dumps(upside_down(value))),
    "with marks of byte order": mark_byte_order,
    "with other ends of lines": end_lines_as_windows_does,
    "written by another version": say(TEXT_CONFIG, transformers_version="4.21.1", _name_or_path="/home/me/x"),
    "by one that notes no version": leave_out(TEXT_CONFIG, "transformers_version", "dtype", "architectures"),
    "in another dtype": say(TEXT_CONFIG, dtype="float16"),
    "in a dtype as it was once named": say(TEXT_CONFIG, torch_dtype="bfloat16"),
    "a part of a larger model": say(TEXT_CONFIG, architectures=["CLIPModel"]),
    "weights under another name": rename_the_weights,
    "a tokenizer from elsewhere": say(
        TOKENIZER_CONFIG, name_or_path="/home/me/x", special_tokens_map_file="/home/me/y", is_local=True
    ),
    "a tokenizer of another version": leave_out(TOKENIZER_CONFIG, "backend"),
    "a tokenizer that chats": say(TOKENIZER_CONFIG, chat_template="{{ messages }}"),
    "a denoiser that names no class": leave_out(UNET_CONFIG, "_class_name"),
    "a schedule that names no class": leave_out(SCHEDULE, "_class_name"),
    "a schedule that names another class": say(SCHEDULE, _class_name="PNDMScheduler"),
    "what the pipeline corrects": say(SCHEDULE, steps_offset=0, clip_sample=True),
    "a default that is not read": say(SCHEDULE, thresholding=True, _use_default_values=["thresholding"]),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_what_loading_does_not_read_does_not_show(original: Path, known: Read, folder: Path, change: Change) -> None:
    change(folder)
    assert any(file.read_bytes() != (original / file.relative_to(folder)).read_bytes() for file in files(folder))
    assert_read_alike(read(folder), known)


def read(folder: Path) -> Read:
    """What is made of a folder: a prompt's embeddings, the schedule, and all that others are told of the model."""
    denoiser = load_denoiser(folder, model="tiny")
    condition = dict(denoiser.encode(image("sd", sampler=Sampler.DDIM, steps=2, guidance=5.0, prompt="a red apple")))
    config = scheduler_config(ModelFolder.open(folder))
    schedule = {name: value for name, value in config.items() if name != "_diffusers_version"}
    return condition, schedule, denoiser.facts


def assert_read_alike(one: Read, other: Read) -> None:
    assert one[1:] == other[1:]
    assert all(torch.equal(one[0][name], value) for name, value in other[0].items())


def raise_the_limit(folder: Path) -> None:
    say(TOKENIZER_CONFIG, model_max_length=20)(folder)


def change_a_vocabulary(folder: Path) -> None:
    name = TOKENIZER if (folder / TOKENIZER).is_file() else VOCABULARY
    content = json.loads((folder / name).read_text())
    vocabulary = content["model"]["vocab"] if name == TOKENIZER else content
    vocabulary["a</w>"], vocabulary["b</w>"] = vocabulary["b</w>"], vocabulary["a</w>"]
    (folder / name).write_text(json.dumps(content))


OTHER: Mapping[str, Change] = {
    "a layer's function": say(TEXT_CONFIG, hidden_act="gelu"),
    "the end of a text": say(TEXT_CONFIG, eos_token_id=3),
    "the limit of a text": raise_the_limit,
    "what a text is filled with": say(TOKENIZER_CONFIG, pad_token="a</w>"),
    "the numbers of two words": change_a_vocabulary,
    "a schedule": say(SCHEDULE, beta_end=0.013),
    "a denoiser's norm": say(UNET_CONFIG, norm_eps=1e-4),
}


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_what_changes_the_picture_shows(known: Read, folder: Path, change: Change) -> None:
    change(folder)
    assert load_denoiser(folder, model="tiny").facts.fingerprint != known[2].fingerprint


@pytest.mark.parametrize("name", sorted(path.name for path in MODELS.iterdir()))
def test_calibrations_that_ship_are_of_the_models_that_ship(name: str) -> None:
    """Their fingerprints were made before what is not read was left out, and are not to change."""
    facts = load_denoiser(MODELS / name, model=name).facts
    assert read_calibrations(MODELS / name / CALIBRATION_FILE, facts.fingerprint)
