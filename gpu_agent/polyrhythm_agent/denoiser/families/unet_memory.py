"""Working memory of a UNet's forward: what is held at each of its places, counted from the widths of its layers.

Owns the formula. A forward holds, at a layer of some level: the skip connections that are still to be read, which are
all of them at the bottom; what goes into the layer; and what the layer makes on its way. All of these shrink by four a
level, so all are counted in numbers a pixel of the latent, and the place that holds most decides. Rims of convolutions
count as those of a patch of one row unit, the smallest one. What a library needs inside an operator is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import ceil
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm.model.facts import ModelMemory
from polyrhythm_agent.denoiser.families.unet_layers import UNetLayers
from polyrhythm_agent.denoiser.guided_run import state_dtype_of
from polyrhythm_agent.denoiser.memory import model_memory
from polyrhythm_agent.denoiser.text.clip import ClipText

ATTENTION_WIDTHS = 9
"""Widths that a token holds inside self attention, beside the input of the transformer: residual, norm, query, own keys
and values, the result of each head, these side by side, and their projection; those of all rows count apart."""

FEED_FORWARD_WIDTHS = 4
"""Widths that a token holds around a feed-forward, beside the input of the transformer: the input of the block, that of
the feed-forward and its norm, and the result of the attention before. Inside are the projection to values and gates,
and the gates' activation and its product with the values, which are half of it each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelSizes:
    """What one number of a feature map amounts to at one level.

    Attributes:
        area: pixels of this level in a pixel of the latent.
        rim: rows of a convolution's input with rims, as a multiple of the rows of the smallest patch.
        wide: size of the numbers in which is normalised, as a multiple of the model's own.
    """

    area: float
    rim: float
    wide: float

    @classmethod
    def of(cls, level: int, levels: int, dtype: torch.dtype) -> LevelSizes:
        """Of a level, counted from the top; the lowest one has one row in a row unit."""
        rows = 2 ** (levels - 1 - level)
        wide = max(torch.float32.itemsize, dtype.itemsize) / dtype.itemsize
        return cls(area=0.25**level, rim=1 + 2 / rows, wide=wide)

    def resnet(self, block: Any) -> float:
        """Numbers that a residual block makes beside its input: at its normalisations, or at its convolutions.

        A normalisation holds product and sum of what it is given.
        """
        before, after = block.in_channels, block.out_channels
        first = max(2 * self.wide * self.area * before, self.area * before + self.convolution(before, after))
        second = max(2 * self.wide * self.area * after, self.convolution(after, after))
        return max(first, self.area * after + second)

    def transformer(self, block: Any) -> float:
        """Numbers that a transformer of some blocks makes beside its input."""
        places = [2 * self.wide * block.in_channels]
        for inner in block.transformer_blocks:
            width = inner.attn1.to_q.out_features
            projected = inner.ff.net[0].proj.out_features
            places += [ATTENTION_WIDTHS * width, FEED_FORWARD_WIDTHS * width + 2 * projected]
        return self.area * max(places)

    def convolution(self, before: int, after: int, *, shrink: int = 1) -> float:
        """Numbers that a convolution makes beside its input: that with rims, and the result.

        Both are there twice, since the libraries have a layout of their own for them.
        """
        return 2 * self.area * (self.rim * before + after / shrink**2)


def unet_memory(unet: UNet2DConditionModel, layers: UNetLayers, *, vae: AutoencoderKL, text: ClipText) -> ModelMemory:
    """What a UNet model takes.

    Args:
        unet: the denoiser.
        layers: what it exchanges.
        vae: the autoencoder.
        text: prompts to embeddings.
    """
    itemsize = unet.dtype.itemsize
    # x and x0, of which all batch elements see the same.
    states_bytes = 2 * unet.config["in_channels"] * state_dtype_of(unet.dtype).itemsize
    return model_memory(
        unet,
        vae,
        [part.encoder for part in text.encoders],
        encode_bytes=text.working_bytes,
        condition_bytes=_condition_bytes(unet, layers, text),
        own_token_bytes=ceil(max(held_numbers(unet)) * itemsize) + states_bytes,
        image_token_bytes=ceil(_gathered_numbers(layers) * itemsize),
    )


def held_numbers(unet: UNet2DConditionModel) -> Iterator[float]:
    """Numbers held at each place of a forward, a pixel of the latent in the own rows and a batch element."""
    model: Any = unet  # diffusers leaves its modules without types
    levels = len(model.down_blocks)
    sizes = [LevelSizes.of(level, levels, unet.dtype) for level in range(levels)]
    skips: list[float] = [float(model.config["block_out_channels"][0])]
    for level, block in zip(sizes, model.down_blocks, strict=True):
        yield from _down_places(block, level, skips)
    lowest = model.down_blocks[-1]
    if model.mid_block is not None:
        lowest = model.mid_block
        yield from _mid_places(lowest, sizes[-1], sum(skips))
    hidden = sizes[-1].area * lowest.resnets[-1].out_channels
    for level, block in zip(reversed(sizes), model.up_blocks, strict=True):
        # The input of the block, and all that it reads of the way down, are held until it ends.
        yield from _up_places(block, level, sum(skips) + hidden)
        del skips[-len(block.resnets) :]
        hidden = level.area * block.resnets[-1].out_channels * (4 if block.upsamplers else 1)


def _down_places(block: Any, level: LevelSizes, skips: list[float]) -> Iterator[float]:
    """Adds what the block hands to the way up; the last of these is what goes into the next layer."""
    for resnet, transformer in zip_longest(block.resnets, getattr(block, "attentions", ())):
        made = level.area * resnet.out_channels
        yield sum(skips) + level.resnet(resnet)
        if transformer is not None:
            yield sum(skips) + made + level.transformer(transformer)
        skips.append(made)
    for down in block.downsamplers or ():
        yield sum(skips) + level.convolution(down.channels, down.out_channels, shrink=2)
        skips.append(level.area * down.out_channels / 4)


def _mid_places(block: Any, level: LevelSizes, skips: float) -> Iterator[float]:
    first, *others = block.resnets
    yield skips + level.resnet(first)
    for transformer, resnet in zip(block.attentions, others, strict=True):
        yield skips + level.area * resnet.in_channels + max(level.transformer(transformer), level.resnet(resnet))


def _up_places(block: Any, level: LevelSizes, held: float) -> Iterator[float]:
    for resnet, transformer in zip_longest(block.resnets, getattr(block, "attentions", ())):
        yield held + level.area * resnet.in_channels + level.resnet(resnet)
        if transformer is not None:
            yield held + level.area * resnet.out_channels + level.transformer(transformer)
    for up in block.upsamplers or ():
        above = replace(level, area=4 * level.area)
        yield held + (level.area + above.area) * up.channels + above.convolution(up.channels, up.out_channels)


def _gathered_numbers(layers: UNetLayers) -> float:
    """Keys and values of one self attention put together, a pixel of the latent in the whole picture."""
    attentions = [layer.sizes for layer in layers.layers.values() if layer.sizes.kind is LayerKind.TOKENS]
    return max((2 * sizes.features / sizes.shrink**2 for sizes in attentions), default=0.0)


def _condition_bytes(unet: UNet2DConditionModel, layers: UNetLayers, text: ClipText) -> int:
    """Embeddings of one prompt, which travel in the state dtype, and the keys and values that every layer keeps."""
    state_bytes = state_dtype_of(unet.dtype).itemsize
    kept = sum(2 * attn.inner_kv_dim for attn in layers.cross_attentions.values())
    embedded_bytes = (text.token_limit * text.width + text.pooled_width) * state_bytes
    return embedded_bytes + text.token_limit * kept * unet.dtype.itemsize
