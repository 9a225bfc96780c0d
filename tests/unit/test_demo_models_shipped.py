"""The models that ship keep what their cards promise, whatever else lies in their folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from demo_model.card import write_card
from demo_model.data import COLOURS, NAMES, caption
from demo_model.export import LIMIT_BYTES, write_known_words
from demo_model.families import FAMILIES, family_of

from polyrhythm.model.shipped_models import SHIPPED_MODELS
from polyrhythm_agent.model_files.known_words import KNOWN_WORDS_FILE, read_known_words
from tests.checks.shipped_files import REPOSITORY, shipped_files

FOLDERS = tuple(REPOSITORY / "models" / name for name in SHIPPED_MODELS)


@pytest.fixture(params=FOLDERS, ids=SHIPPED_MODELS)
def folder(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_every_family_ships_a_model() -> None:
    shipped = [family_of(path) for path in FOLDERS]
    assert sorted(map(id, shipped)) == sorted(map(id, FAMILIES.values()))


def test_a_folder_is_small_and_holds_safetensors_only(folder: Path) -> None:
    files = shipped_files(folder)
    assert folder / "model_index.json" in files
    assert sum(path.stat().st_size for path in files) <= LIMIT_BYTES
    assert {path.suffix for path in files} <= {".json", ".md", ".png", ".safetensors", ".txt"}


def test_no_config_says_where_the_model_was_made(folder: Path) -> None:
    for path in (path for path in shipped_files(folder) if path.suffix == ".json"):
        assert "_name_or_path" not in path.read_text(), path


def test_the_card_says_what_was_measured(folder: Path, tmp_path: Path) -> None:
    numbers = json.loads((folder / "evaluation.json").read_text())
    write_card(family_of(folder), tmp_path, numbers)
    assert (tmp_path / "README.md").read_text() == (folder / "README.md").read_text()
    assert numbers["listed"]["prompts"] == numbers["held_out"]["prompts"] >= 16


def test_both_models_have_the_same_autoencoder() -> None:
    weights = [(path / "vae" / "diffusion_pytorch_model.safetensors").read_bytes() for path in FOLDERS]
    configs = [json.loads((path / "vae" / "config.json").read_text()) for path in FOLDERS]
    assert len(set(weights)) == 1
    assert all(config == configs[0] for config in configs)


def test_the_folder_lists_what_the_model_was_trained_on(folder: Path, tmp_path: Path) -> None:
    write_known_words(tmp_path)
    assert (folder / KNOWN_WORDS_FILE).read_text() == (tmp_path / KNOWN_WORDS_FILE).read_text()
    known = read_known_words(folder)
    assert known is not None
    for name in range(len(NAMES)):
        assert known.notice("demo", caption(name, name % len(COLOURS))) is None
    assert known.notice("demo", "my grandmother on a blue background") is not None
