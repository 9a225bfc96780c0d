"""What a UNet model says that it takes, against what the allocator hands out: skip connections, levels, decoding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.ports.denoiser import Denoiser
from tests.oracles.allocation import forward_bytes, peak_bytes, square_image
from tests.tiny_models.unets import TINY_UNETS

SIDE_PX = 512


@pytest.fixture(scope="module", params=[*TINY_UNETS, "small"])
def denoiser(request: pytest.FixtureRequest, folders: Mapping[str, Path]) -> Denoiser:
    denoiser = load_denoiser(folders[request.param], model="tiny")
    for part in denoiser.parts:
        part.load()
    return denoiser


@pytest.mark.parametrize("quarters", [4, 2, 1])
def test_a_forward_takes_what_is_said_and_little_less(denoiser: Denoiser, quarters: int) -> None:
    rows = denoiser.facts.row_count(SIDE_PX) * quarters // 4
    measured, said = forward_bytes(denoiser, square_image(denoiser, SIDE_PX), rows)
    assert measured <= said <= 1.5 * measured


def test_decoding_takes_what_is_said_and_little_less(denoiser: Denoiser) -> None:
    image, memory = square_image(denoiser, SIDE_PX // 2), denoiser.facts.memory
    assert memory is not None
    latent_BCHW = denoiser.start(image, denoiser.encode(image)).initial_noise()
    measured = peak_bytes(lambda: denoiser.decode(latent_BCHW))
    assert measured <= memory.decode_pixel_bytes * image.width_px * image.height_px <= 1.5 * measured


def test_the_condition_takes_what_is_said(denoiser: Denoiser) -> None:
    image, memory = square_image(denoiser, SIDE_PX), denoiser.facts.memory
    assert memory is not None
    condition = denoiser.encode(image)
    kept_bytes = peak_bytes(lambda: denoiser.start(image, condition))
    embedded_bytes = sum(tensor.nbytes for tensor in condition.values())
    assert memory.condition_bytes * 2 == pytest.approx(kept_bytes + embedded_bytes, rel=0.25)


def test_weights_are_those_of_the_parts(denoiser: Denoiser) -> None:
    facts = denoiser.facts
    assert facts.memory is not None
    parts_bytes = facts.memory.denoiser_bytes + facts.memory.text_encoder_bytes + facts.memory.autoencoder_bytes
    assert facts.weights_bytes == parts_bytes > torch.float32.itemsize * 1000


@pytest.mark.parametrize(
    ("name", "said", "expected"),
    [
        ("sdxl", {}, torch.float32),
        ("sdxl", {"force_upcast": False}, torch.float16),
        ("sd", {}, torch.float16),
        ("sd", {"force_upcast": True}, torch.float32),
    ],
)
def test_an_sdxl_autoencoder_is_kept_out_of_half_precision_unless_it_says_otherwise(
    tmp_path: Path, name: str, said: dict[str, bool], expected: torch.dtype
) -> None:
    folder = TINY_UNETS[name](tmp_path)
    config = folder / "vae" / "config.json"
    values = {key: value for key, value in json.loads(config.read_text()).items() if key != "force_upcast"}
    config.write_text(json.dumps(values | said))
    autoencoder: Any = load_denoiser(folder, model="tiny", dtype=torch.float16).parts[0]
    assert autoencoder.outline.dtype is autoencoder.module().dtype is expected
