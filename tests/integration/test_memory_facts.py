"""What a model says that it takes, against what the allocator hands out, on the model that ships."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKL

from polyrhythm.job.image import ImageSpec
from polyrhythm_agent.denoiser.decoding import LatentScaling, Tiling, decode_latent
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.model_files.model_folder import find_model
from polyrhythm_agent.ports.denoiser import Denoiser
from tests.oracles.allocation import forward_bytes, peak_bytes, square_image

SIDE_PX = 128


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    denoiser = load_denoiser(find_model("demo-transformer").path, model="demo-transformer")
    for part in denoiser.parts:
        part.load()
    return denoiser


@pytest.fixture(scope="module")
def image(denoiser: Denoiser) -> ImageSpec:
    return square_image(denoiser, SIDE_PX)


def demo_autoencoder() -> tuple[AutoencoderKL, LatentScaling]:
    folder = find_model("demo-transformer").path
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32)
    return vae, LatentScaling.read(vae.config, by_channel=False)


@pytest.mark.parametrize("rows", [16, 8, 4])
def test_a_forward_takes_what_is_said_and_little_less(denoiser: Denoiser, image: ImageSpec, rows: int) -> None:
    measured, said = forward_bytes(denoiser, image, rows)
    assert measured <= said <= 1.5 * measured


def test_decoding_takes_what_is_said_and_little_less(denoiser: Denoiser, image: ImageSpec) -> None:
    run, memory = denoiser.start(image, denoiser.encode(image)), denoiser.facts.memory
    assert memory is not None
    latent_BCHW = run.initial_noise()
    measured = peak_bytes(lambda: denoiser.decode(latent_BCHW))
    assert measured <= memory.decode_pixel_bytes * SIDE_PX**2 <= 1.5 * measured


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


def test_the_condition_takes_what_is_said(denoiser: Denoiser, image: ImageSpec) -> None:
    condition, memory = denoiser.encode(image), denoiser.facts.memory
    assert memory is not None
    kept_bytes = peak_bytes(lambda: denoiser.start(image, condition))
    embedded_bytes = sum(tensor.nbytes for tensor in condition.values())
    assert memory.condition_bytes * 2 == pytest.approx(kept_bytes + embedded_bytes, rel=0.25)


def test_weights_are_those_of_the_parts(denoiser: Denoiser) -> None:
    facts = denoiser.facts
    assert facts.memory is not None
    parts_bytes = facts.memory.denoiser_bytes + facts.memory.text_encoder_bytes + facts.memory.autoencoder_bytes
    assert facts.weights_bytes == parts_bytes
    assert torch.float32.itemsize * 1e6 < parts_bytes < 1e9
