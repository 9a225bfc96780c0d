"""What a model says that it takes, against what the allocator hands out: a transformer, and UNets of every make."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from polyrhythm.job.image import ImageSpec
from polyrhythm_agent.denoiser.decoding import LatentScaling, Tiling, decode_latent
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.model_files.model_folder import find_model
from polyrhythm_agent.ports.denoiser import Denoiser
from tests.oracles.allocation import forward_bytes, peak_bytes, square_image
from tests.tiny_models.unets import TINY_UNETS

SIDE_PX = 128
SIDES_PX = {"demo-transformer": SIDE_PX, "sd": 512, "sdxl": 512, "small": 512}
"""Pictures of these models, wide enough for levels and skip connections to count."""


def loaded(folder: Path) -> Denoiser:
    denoiser = load_denoiser(folder, model="model")
    for part in denoiser.parts:
        part.load()
    return denoiser


@pytest.fixture(scope="module", params=SIDES_PX)
def make(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(make: str, folders: Mapping[str, Path]) -> Denoiser:
    return loaded(find_model(make).path if make.startswith("demo") else folders[make])


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    """The transformer that ships."""
    return loaded(find_model("demo-transformer").path)


@pytest.fixture(scope="module")
def image(denoiser: Denoiser) -> ImageSpec:
    return square_image(denoiser, SIDE_PX)


def demo_autoencoder() -> tuple[AutoencoderKL, LatentScaling]:
    folder = find_model("demo-transformer").path
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32)
    return vae, LatentScaling.read(vae.config, by_channel=False)


@pytest.mark.parametrize("quarters", [4, 2, 1])
def test_a_forward_takes_what_is_said_and_little_less(make: str, model: Denoiser, quarters: int) -> None:
    side_px = SIDES_PX[make]
    measured, said = forward_bytes(model, square_image(model, side_px), model.facts.row_count(side_px) * quarters // 4)
    assert measured <= said <= 1.5 * measured


def test_decoding_takes_what_is_said_and_little_less(make: str, model: Denoiser) -> None:
    image, memory = square_image(model, SIDES_PX[make] // 2), model.facts.memory
    assert memory is not None
    latent_BCHW = model.start(image, model.encode(image)).initial_noise()
    measured = peak_bytes(lambda: model.decode(latent_BCHW))
    assert measured <= memory.decode_pixel_bytes * image.width_px * image.height_px <= 1.5 * measured


def test_the_condition_takes_what_is_said(make: str, model: Denoiser) -> None:
    image, memory = square_image(model, SIDES_PX[make]), model.facts.memory
    assert memory is not None
    condition = model.encode(image)
    kept_bytes = peak_bytes(lambda: model.start(image, condition))
    embedded_bytes = sum(tensor.nbytes for tensor in condition.values())
    assert memory.condition_bytes * 2 == pytest.approx(kept_bytes + embedded_bytes, rel=0.25)


def test_weights_are_those_of_the_parts(model: Denoiser) -> None:
    facts = model.facts
    assert facts.memory is not None
    parts_bytes = facts.memory.denoiser_bytes + facts.memory.text_encoder_bytes + facts.memory.autoencoder_bytes
    assert 1e9 > facts.weights_bytes == parts_bytes > torch.float32.itemsize * 1000


def test_a_large_picture_is_decoded_in_tiles_and_takes_what_is_said(denoiser: Denoiser, image: ImageSpec) -> None:
    memory, (vae, scaling) = denoiser.facts.memory, demo_autoencoder()
    assert memory is not None
    latent_BCHW = denoiser.start(image, denoiser.encode(image)).initial_noise().repeat(1, 1, 2, 2)
    pixels, tiling = 4 * SIDE_PX**2, Tiling(above_pixels=4 * SIDE_PX**2 - 1, side_px=SIDE_PX)
    tiled_peak = peak_bytes(lambda: decode_latent(vae, latent_BCHW, scaling, tiling))
    whole_peak = peak_bytes(lambda: decode_latent(vae, latent_BCHW, scaling))
    said = replace(memory, tiled_above_pixels=tiling.above_pixels, tile_pixels=tiling.side_px**2).decode_bytes(pixels)
    assert tiled_peak <= said <= 1.5 * tiled_peak
    assert said < 0.5 * whole_peak
    assert memory.tiled_above_pixels > pixels


def test_tiles_show_what_the_whole_shows_and_are_used_for_large_pictures_only(
    denoiser: Denoiser, image: ImageSpec
) -> None:
    vae, scaling = demo_autoencoder()
    latent_BCHW = denoiser.start(image, denoiser.encode(image)).initial_noise()
    whole = decode_latent(vae, latent_BCHW, scaling).float()
    tiled = decode_latent(vae, latent_BCHW, scaling, Tiling(above_pixels=SIDE_PX**2 - 1, side_px=64)).float()
    assert tiled.shape == whole.shape
    assert 0 < (tiled - whole).abs().mean() < 0.05 * 255
    again = decode_latent(vae, latent_BCHW, scaling, Tiling(above_pixels=SIDE_PX**2, side_px=64)).float()
    assert torch.equal(again, whole)


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
