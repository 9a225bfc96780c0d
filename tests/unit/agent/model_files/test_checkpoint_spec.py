"""What a single file says of itself decides its configs; where it says nothing, a guess does, and that is told."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_agent.model_files.checkpoint_file import CheckpointHeader
from polyrhythm_agent.model_files.checkpoint_spec import NOTICES_FILE
from polyrhythm_agent.model_files.known_configs import TELLING_BIAS
from polyrhythm_agent.model_files.model_folder import find_model

SD_2 = ("model.diffusion_model.a", "first_stage_model.a", "cond_stage_model.model.a")
SDXL = (*SD_2[:2], "conditioner.embedders.0.transformer.a", "conditioner.embedders.1.model.a")
SPREAD = (0.0625, -0.0625, -0.0625, 0.0625)
"""Below the border; twice as much is beyond it."""
BASE, VELOCITY = ("epsilon", 64), ("v_prediction", 96)
"""Prediction and trained side of the two models of Stable Diffusion 2, the latter of the latent."""


def make_checkpoint(
    file: Path,
    names: Sequence[str] = SD_2,
    metadata: Mapping[str, str] | None = None,
    bias: bytes = b"",
    dtype: str = "F32",
) -> Path:
    """A file with a header and at most one tensor."""
    header: dict[str, Any] = {name: {"dtype": "F16", "data_offsets": [0, 0]} for name in names}
    if bias:
        header[TELLING_BIAS] = {"dtype": dtype, "shape": [1], "data_offsets": [0, len(bias)]}
    header["__metadata__"] = {"format": "pt"} | {f"modelspec.{name}": said for name, said in (metadata or {}).items()}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + bias)
    return file


def packed(numbers: Sequence[float], dtype: str) -> bytes:
    if dtype == "BF16":
        return b"".join(struct.pack("<f", number)[2:] for number in numbers)
    return struct.pack(f"<{len(numbers)}{ {'F64': 'd', 'F32': 'f', 'F16': 'e'}[dtype] }", *numbers)


def configs_of(checkpoint: Path, tmp_path: Path) -> Path:
    clip = tmp_path / "clip"
    clip.mkdir(exist_ok=True)
    (clip / "vocab.json").write_text('{"a": 0}')
    (clip / "merges.txt").write_text("#version: 0.2")
    configs = find_model(str(checkpoint), fetch_vocabulary=lambda: clip, cache=tmp_path / "cache").configs
    assert configs is not None
    return configs


def made(configs: Path) -> tuple[str, int]:
    predicts = json.loads((configs / "scheduler" / "scheduler_config.json").read_text())["prediction_type"]
    return predicts, json.loads((configs / "unet" / "config.json").read_text())["sample_size"]


def notices(configs: Path) -> list[str]:
    file = configs / NOTICES_FILE
    return json.loads(file.read_text())["notices"] if file.is_file() else []


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"architecture": "stable-diffusion-v2-512"}, BASE),
        ({"architecture": "stable-diffusion-v2-768-v"}, VELOCITY),
        ({"prediction_type": "epsilon"}, BASE),
        ({"prediction_type": "v", "architecture": "stable-diffusion-v2"}, VELOCITY),
    ],
)
def test_what_a_file_says_decides_its_configs_and_needs_no_notice(
    tmp_path: Path, metadata: Mapping[str, str], expected: tuple[str, int]
) -> None:
    bias = packed(
        [each * (3 if expected == BASE else 1) for each in SPREAD], "F32"
    )  # that would have been guessed wrong
    configs = configs_of(make_checkpoint(tmp_path / "m.safetensors", metadata=metadata, bias=bias), tmp_path)
    assert (made(configs), notices(configs)) == (expected, [])


def test_a_tensor_that_says_so_decides_as_well(tmp_path: Path) -> None:
    bias = packed(SPREAD, "F32")
    configs = configs_of(make_checkpoint(tmp_path / "m.safetensors", (*SD_2, "v_pred"), bias=bias), tmp_path)
    assert (made(configs), notices(configs)) == (VELOCITY, [])


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize(("times", "expected", "predicts"), [(1, BASE, "noise"), (2, VELOCITY, "velocity")])
def test_where_a_file_says_nothing_a_guess_is_told(
    tmp_path: Path, dtype: str, times: int, expected: tuple[str, int], predicts: str
) -> None:
    bias = packed([0.5 + times * each for each in SPREAD], dtype)
    configs = configs_of(make_checkpoint(tmp_path / "m.safetensors", bias=bias, dtype=dtype), tmp_path)
    assert made(configs) == expected
    (notice,) = notices(configs)
    assert f"which predicts {predicts} (guessed by the spread of one bias, 0.{'06' if times == 1 else '12'}" in notice
    assert "--model-config" in notice


@pytest.mark.parametrize("bias", [b"", packed([float("nan")] * 4, "F32"), packed([float("inf"), 1.0], "F32")])
def test_a_guess_without_a_basis_is_told_too(tmp_path: Path, bias: bytes) -> None:
    configs = configs_of(make_checkpoint(tmp_path / "m.safetensors", bias=bias), tmp_path)
    assert len(notices(configs)) == 1


def test_files_of_other_models_are_not_guessed_at(tmp_path: Path) -> None:
    configs = configs_of(make_checkpoint(tmp_path / "m.safetensors", SDXL, bias=packed(SPREAD, "F32")), tmp_path)
    assert notices(configs) == []


@pytest.mark.parametrize(
    ("names", "metadata", "told"),
    [
        (
            SD_2,
            {"prediction_type": "v", "architecture": "stable-diffusion-v2-512"},
            "contradicts itself: modelspec.pred",
        ),
        (SD_2, {"prediction_type": "sample"}, "its modelspec.prediction_type is sample; known are"),
        (SD_2, {"architecture": "stable-diffusion-xl-v1-base"}, "xl-v1-base, and its tensors are those of stable-diff"),
        ((*SDXL, "v_pred"), {"prediction_type": "epsilon"}, "contradicts itself: v_pred says v_prediction, modelspec"),
    ],
)
def test_contradictions_are_refused_before_anything_is_started(
    tmp_path: Path, names: Sequence[str], metadata: Mapping[str, str], told: str
) -> None:
    checkpoint = make_checkpoint(tmp_path / "m.safetensors", names, metadata)
    with pytest.raises(InvalidArgumentError, match=rf"^--model: .*m\.safetensors cannot be loaded: .*{told}"):
        configs_of(checkpoint, tmp_path)


def test_a_header_that_promises_too_much_is_not_followed(tmp_path: Path) -> None:
    file = make_checkpoint(tmp_path / "m.safetensors", bias=b"\0" * 8)
    text = file.read_bytes().replace(b'"data_offsets": [0, 8]', b'"data_offsets": [0, 9999999999]')[8:]
    file.write_bytes(len(text[:-8]).to_bytes(8, "little") + text)
    assert CheckpointHeader.read(file).numbers(file, TELLING_BIAS) == ()
