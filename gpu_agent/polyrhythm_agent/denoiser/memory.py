"""What the parts of a model take in memory: weights counted, working memory from the widths of their layers.

Owns the formulas behind ``ModelMemory``. They count the tensors that inference holds at one time, at the
widest place of a part, and leave out what a library needs inside an operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel, PixArtTransformer2DModel
from torch import nn

from polyrhythm.model.facts import ModelMemory
from polyrhythm_agent.denoiser.decoding import TILING
from polyrhythm_agent.denoiser.offload import offloaded_bytes
from polyrhythm_agent.denoiser.on_demand import OnDemand, module_bytes
from polyrhythm_agent.denoiser.text.t5 import T5Text

FEED_FORWARD_WIDTHS = 10
"""Widths that a token holds inside a block's feed-forward: residual, its norm, and four times the width twice, before
and after the activation function. Its attention holds six: residual, norm, query, own key and value, and the result."""

LATENT_NUMBERS = 1
"""Numbers of latents beside a picture that is decoded, a pixel of it, at most."""

TILED_NUMBERS = 12
"""Numbers kept a pixel while a picture is decoded in tiles: three colours in the tiles, which overlap by a quarter on
each side, in the rows that are put together from them, and in the picture."""


def decode_pixel_bytes(vae: AutoencoderKL) -> int:
    """Working memory of decoding, a pixel of the picture: at full size, where the last block is or begins.

    Input and result of a convolution are there twice, since the libraries have a layout of their own for them, and the
    input of a block is held until it ends.
    """
    channels: tuple[int, ...] = tuple(vae.config["block_out_channels"])
    last, before, earlier = channels[0], channels[min(1, len(channels) - 1)], channels[min(2, len(channels) - 1)]
    up_sampler = ceil((earlier + before) / 4) + 2 * before + 2 * before
    first_resnet = before + 2 * before + 2 * last
    later_resnet = before + last + 2 * last + 2 * last
    return (max(up_sampler, first_resnet, later_resnet) + LATENT_NUMBERS) * vae.dtype.itemsize


def model_memory(
    denoiser: nn.Module,
    vae: AutoencoderKL,
    text_encoders: Sequence[OnDemand[Any]],
    *,
    encode_bytes: int,
    condition_bytes: int,
    own_token_bytes: int,
    image_token_bytes: int,
) -> ModelMemory:
    """What a model of any family takes.

    Args:
        denoiser: counted.
        vae: the autoencoder's outline.
        text_encoders: counted.
        encode_bytes: as in ``ModelMemory``.
        condition_bytes: as in ``ModelMemory``.
        own_token_bytes: as in ``ModelMemory``.
        image_token_bytes: as in ``ModelMemory``.
    """
    return ModelMemory(
        denoiser_bytes=module_bytes(denoiser),
        text_encoder_bytes=sum(encoder.size_bytes for encoder in text_encoders),
        autoencoder_bytes=module_bytes(vae),
        condition_bytes=condition_bytes,
        own_token_bytes=own_token_bytes,
        image_token_bytes=image_token_bytes,
        decode_pixel_bytes=decode_pixel_bytes(vae),
        tiled_above_pixels=TILING.above_pixels,
        tile_pixels=TILING.side_px**2,
        tiled_pixel_bytes=TILED_NUMBERS * vae.dtype.itemsize,
        encode_bytes=encode_bytes,
        offloaded_bytes=offloaded_bytes(denoiser),
    )


def token_memory(
    transformer: PixArtTransformer2DModel | DiTTransformer2DModel,
    vae: AutoencoderKL,
    text_encoders: Sequence[OnDemand[Any]],
    *,
    encode_bytes: int,
    condition_bytes: int,
) -> ModelMemory:
    """What a transformer over tokens takes.

    Args:
        transformer: the denoiser.
        vae: the autoencoder's outline or itself.
        text_encoders: all of them.
        encode_bytes: working memory of encoding one text.
        condition_bytes: embeddings of a prompt and what every layer keeps of them, one batch element.
    """
    width, itemsize = transformer.inner_dim, transformer.dtype.itemsize
    return model_memory(
        transformer,
        vae,
        text_encoders,
        encode_bytes=encode_bytes,
        condition_bytes=condition_bytes,
        own_token_bytes=FEED_FORWARD_WIDTHS * width * itemsize,
        # Keys and values of one layer put together, and the position embedding, which is always fp32 at least.
        image_token_bytes=2 * width * itemsize + width * max(torch.float32.itemsize, itemsize),
    )


def text_condition_bytes(transformer: PixArtTransformer2DModel, text: T5Text) -> int:
    """Embeddings of one prompt, and the keys, the values and a bias for each head that every layer keeps of them."""
    itemsize = transformer.dtype.itemsize
    kept = 2 * transformer.inner_dim + transformer.config["num_attention_heads"]
    layers = len(transformer.transformer_blocks)
    # Embeddings travel in the state dtype, which is fp32 at least.
    return text.token_limit * (text.width * max(torch.float32.itemsize, itemsize) + layers * kept * itemsize)
