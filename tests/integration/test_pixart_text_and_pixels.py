"""Prompts become what the pipeline makes of them, latents become its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.denoiser.decoding import PictureNotFiniteError
from polyrhythm_agent.denoiser.families.pixart import PixArtDenoiser
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.ports.denoiser import Denoiser
from tests.oracles.reference import plain_pipeline


@pytest.fixture(scope="module")
def denoiser(folders: Mapping[str, Path]) -> Denoiser:
    return load_denoiser(folders["pixart"], model="tiny")


def image(prompt: str, negative_prompt: str = "", guidance: float = 5.0, width_px: int = 64) -> ImageSpec:
    return ImageSpec(
        model="tiny",
        prompt=prompt,
        negative_prompt=negative_prompt,
        width_px=width_px,
        height_px=64,
        steps=20,
        seed=0,
        guidance=guidance,
        sampler=Sampler.DDIM,
        quality=Quality.EXACT,
    )


@pytest.mark.parametrize("prompt", ["a red apple", "  A Cat on THE background!  ", "zebra & ünïcode"])
@pytest.mark.parametrize("negative_prompt", ["", "blurry"])
@torch.inference_mode()
def test_embeddings_are_the_pipelines(folder: Path, denoiser: Denoiser, prompt: str, negative_prompt: str) -> None:
    pipeline: Any = plain_pipeline(folder, Sampler.DDIM)
    text, mask, negative_text, negative_mask = pipeline.encode_prompt(prompt, True, negative_prompt=negative_prompt)
    condition = denoiser.encode(image(prompt, negative_prompt))
    assert torch.equal(condition["text_BLT"], torch.cat([negative_text, text]))
    assert torch.equal(condition["mask_BL"], torch.cat([negative_mask, mask]))


def test_without_guidance_only_the_prompt_is_encoded(denoiser: Denoiser) -> None:
    both = denoiser.encode(image("a red apple"))
    alone = denoiser.encode(image("a red apple", guidance=1.0))
    for name, value in alone.items():
        assert torch.equal(value, both[name][1:])


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_an_empty_condition_has_the_shapes_to_receive_into(denoiser: Denoiser, guidance: float) -> None:
    spec = image("a cat", guidance=guidance)
    encoded, empty = denoiser.encode(spec), denoiser.empty_condition(spec)
    assert list(empty) == list(encoded)
    for name, value in empty.items():
        assert (value.shape, value.dtype) == (encoded[name].shape, encoded[name].dtype)


def test_tokens_are_counted_without_truncation(denoiser: Denoiser) -> None:
    assert denoiser.count_tokens("") == 1
    assert denoiser.count_tokens("a red apple") == denoiser.count_tokens(" A RED APPLE ")
    assert denoiser.count_tokens("apple " * 500) == 501


def test_a_prompt_of_exactly_the_limit_is_taken(denoiser: Denoiser) -> None:
    limit = denoiser.facts.token_limit
    assert limit == 120
    assert denoiser.encode(image("apple " * (limit - 1)))["mask_BL"][1].sum() == limit
    with pytest.raises(InvalidArgumentError, match="prompt: at most 120 tokens, got 121"):
        denoiser.encode(image("apple " * limit))


def test_every_field_that_is_wrong_is_named(denoiser: Denoiser) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        denoiser.encode(image("apple " * 200, negative_prompt="cat " * 300))
    assert [v.field for v in caught.value.violations] == ["prompt", "negative_prompt"]
    with pytest.raises(InvalidArgumentError, match="width_px: width must be a positive multiple of 8 pixels, got 60"):
        denoiser.encode(image("apple", width_px=60))


def test_pixels_are_the_pipelines(folder: Path, denoiser: Denoiser) -> None:
    latent_BCHW = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(1))
    pipeline: Any = plain_pipeline(folder, Sampler.DDIM)
    with torch.inference_mode():
        decoded = pipeline.vae.decode(latent_BCHW / pipeline.vae.config["scaling_factor"], return_dict=False)[0]
        expected_HWC = np.asarray(pipeline.image_processor.postprocess(decoded, "pil")[0])
    pixels_CHW = denoiser.decode(latent_BCHW)
    assert pixels_CHW.dtype is torch.uint8
    assert np.array_equal(pixels_CHW.permute(1, 2, 0).numpy(), expected_HWC)


def test_a_picture_of_nan_is_no_picture(denoiser: Denoiser) -> None:
    latent_BCHW = torch.zeros(1, 4, 8, 8)
    latent_BCHW[0, 0, 0, 0] = float("nan")
    with pytest.raises(PictureNotFiniteError, match=r"picture: .* decoded values are not finite"):
        denoiser.decode(latent_BCHW)


def test_facts_are_those_of_the_parts(folder: Path, denoiser: PixArtDenoiser) -> None:
    facts = denoiser.facts
    pipeline = plain_pipeline(folder, Sampler.DDIM)
    parts = (pipeline.transformer, pipeline.vae, pipeline.text_encoder)
    assert facts.family == "pixart"
    assert facts.samplers == ("dpmpp-2m", "ddim", "euler", "euler-ancestral", "lcm", "tcd")
    assert facts.full_rate_samplers == ("euler-ancestral", "lcm")
    assert (facts.default_width_px, facts.default_height_px) == (128, 128)
    assert (facts.pixel_multiple, facts.row_unit_px, facts.token_px) == (8, 8, 8)
    assert facts.weights_bytes >= sum(p.nbytes for part in parts for p in part.parameters())
    size = denoiser.geometry(image("a cat", width_px=96))
    attention = next(iter(size.layers.values()))
    assert (size.row_count, attention.columns) == (facts.row_count(64), facts.tokens_per_row(96)) == (8, 12)
    (group,) = facts.exchanged
    assert (group.kind, group.layers, group.cell_px) == (LayerKind.TOKENS, len(size.layers), 8)
    assert group.cell_bytes == 2 * attention.features * torch.float32.itemsize
    latent_bytes = size.latent_channels * size.latent_height * size.latent_width * torch.float32.itemsize
    assert facts.latent_bytes_per_token * size.row_count * attention.columns == latent_bytes
