"""What counts of a model folder's text files, beyond what the tiny models of the integration tests have."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from polyrhythm_agent.denoiser.files.folder_contents import (
    config_content,
    merges_content,
    tokenizer_config_content,
    tokenizer_content,
    vocabulary_content,
)
from tests.values.json_order import upside_down

MODELS = Path(__file__).parents[4] / "models"
CONTENTS: Mapping[str, Callable[[Any], bytes]] = {
    "tokenizer.json": tokenizer_content,
    "tokenizer_config.json": tokenizer_config_content,
    "vocab.json": vocabulary_content,
}


@pytest.mark.parametrize(
    "file",
    [file for name in CONTENTS for file in MODELS.glob(f"*/tokenizer/{name}")],
    ids=lambda file: "-".join(file.parts[-3:]),
)
def test_files_that_ship_are_written_as_they_count(file: Path) -> None:
    """So their fingerprints are those that their calibrations bear; and whatever order their fields come in."""
    written = file.read_bytes()
    assert CONTENTS[file.name](upside_down(json.loads(written))) == written


def test_merges_count_by_their_lines() -> None:
    merges = (MODELS / "demo-unet" / "tokenizer" / "merges.txt").read_bytes()
    assert merges_content(merges) == merges
    assert merges_content(merges.replace(b"\n", b"\r\n").removesuffix(b"\r\n")) == merges
    assert merges_content(merges + b"z z") != merges


def text_content(**config: object) -> bytes:
    return config_content(config, of_transformers=True, indexed_class="CLIPTextModel")


def test_notes_within_a_config_do_not_count() -> None:
    described = {"hidden_size": 8}
    noted = {"hidden_size": 8, "torch_dtype": "float32", "transformers_version": "4.21.1", "_name_or_path": "x"}
    assert text_content(model_type="clip", text_config=noted) == text_content(model_type="clip", text_config=described)
    assert text_content(model_type="clip", text_config=noted) != text_content(model_type="clip", text_config={})


@pytest.mark.parametrize("key", ["_attn_implementation", "hidden_act", "quantization_config"])
def test_what_transformers_may_read_counts(key: str) -> None:
    assert text_content(**{key: "x"}) != text_content()


def test_of_diffusers_configs_what_no_class_is_handed_does_not_count() -> None:
    def content(**config: object) -> bytes:
        return config_content(config, of_transformers=False, indexed_class="U")

    assert content(layers=2) == content(layers=2, _class_name="U", _name_or_path="x", _diffusers_version="1")
    assert content(layers=2) == content(layers=2, depth=3, _use_default_values=["depth"])
    assert content(layers=2) != content(layers=2, _use_default_values=["layers"])
    assert content(layers=2) != content(layers=2, dtype="float16")
    assert content(layers=2) != content(layers=2, _class_name="V")
