"""What a model says that it takes, against what the allocator hands out, on the model that ships."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from torch.profiler import ProfilerActivity, profile

from polyrhythm.image import ImageSpec
from polyrhythm.profile import Workload
from polyrhythm.rows import RowRange
from polyrhythm_agent.denoiser.decoding import Tiling, decode_latent
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.emulation import EmulatedSpeed
from polyrhythm_agent.model_folder import find_model
from polyrhythm_agent.ports import Denoiser
from polyrhythm_agent.profiling import RememberedRows, profile_image

SIDE_PX = 128


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    return load_denoiser(find_model("demo").path, model="demo")


@pytest.fixture(scope="module")
def image(denoiser: Denoiser) -> ImageSpec:
    return profile_image(Workload(model="demo", width_px=SIDE_PX, height_px=SIDE_PX, batch=2), denoiser)


def demo_autoencoder() -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(find_model("demo").path, subfolder="vae", torch_dtype=torch.float32)


def peak_bytes(work: Callable[[], object]) -> int:
    """Most bytes that were allocated at one time beyond what was held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    held_bytes = most_bytes = 0
    profiler: Any = profiled.profiler
    for event in profiler.kineto_results.events():
        if event.name() == "[memory]":
            held_bytes += event.nbytes()
            most_bytes = max(most_bytes, held_bytes)
    return most_bytes


@pytest.mark.parametrize("rows", [16, 8, 4])
def test_a_forward_takes_what_is_said_and_little_less(denoiser: Denoiser, image: ImageSpec, rows: int) -> None:
    run, memory = denoiser.start(image, denoiser.encode(image)), denoiser.facts.memory
    assert memory is not None
    size, own = run.geometry, RowRange(begin=0, end=rows)
    exchange = RememberedRows(rows=own, geometry=size)
    x_BCHW = run.initial_noise()[:, :, size.latent_slice(own)]
    measured = peak_bytes(lambda: run.predict(x_BCHW, 0, own, exchange, EmulatedSpeed(speed=1.0)))
    tokens_per_row = size.layers[0].columns
    said = 2 * tokens_per_row * (memory.image_token_bytes * size.row_count + memory.own_token_bytes * rows)
    assert measured <= said <= 1.5 * measured


def test_decoding_takes_what_is_said_and_little_less(denoiser: Denoiser, image: ImageSpec) -> None:
    run, memory = denoiser.start(image, denoiser.encode(image)), denoiser.facts.memory
    assert memory is not None
    latent_BCHW = run.initial_noise()
    measured = peak_bytes(lambda: denoiser.decode(latent_BCHW))
    assert measured <= memory.decode_pixel_bytes * SIDE_PX**2 <= 1.5 * measured


def test_a_large_picture_is_decoded_in_tiles_and_takes_what_is_said(denoiser: Denoiser, image: ImageSpec) -> None:
    memory, vae = denoiser.facts.memory, demo_autoencoder()
    assert memory is not None
    latent_BCHW = denoiser.start(image, denoiser.encode(image)).initial_noise().repeat(1, 1, 2, 2)
    pixels, tiling = 4 * SIDE_PX**2, Tiling(above_pixels=4 * SIDE_PX**2 - 1, side_px=SIDE_PX)
    tiled_peak = peak_bytes(lambda: decode_latent(vae, latent_BCHW, tiling))
    whole_peak = peak_bytes(lambda: decode_latent(vae, latent_BCHW))
    said = replace(memory, tiled_above_pixels=tiling.above_pixels, tile_pixels=tiling.side_px**2).decode_bytes(pixels)
    assert tiled_peak <= said <= 1.5 * tiled_peak
    assert said < 0.5 * whole_peak
    assert memory.tiled_above_pixels > pixels


def test_tiles_show_what_the_whole_shows_and_are_used_for_large_pictures_only(
    denoiser: Denoiser, image: ImageSpec
) -> None:
    vae = demo_autoencoder()
    latent_BCHW = denoiser.start(image, denoiser.encode(image)).initial_noise()
    whole = decode_latent(vae, latent_BCHW).float()
    tiled = decode_latent(vae, latent_BCHW, Tiling(above_pixels=SIDE_PX**2 - 1, side_px=64)).float()
    assert tiled.shape == whole.shape
    assert 0 < (tiled - whole).abs().mean() < 0.05 * 255
    again = decode_latent(vae, latent_BCHW, Tiling(above_pixels=SIDE_PX**2, side_px=64)).float()
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
