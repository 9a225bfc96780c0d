"""Which layers of a UNet exchange what at which level, in the order in which a forward comes to them.

Owns the wrapping of a UNet's modules and the reading of their sizes. The order and the levels are observed in one small
forward instead of being derived from the config, so that they cannot differ from what the blocks really do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from polyrhythm.ids import LayerId
from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm_agent.denoiser.layers.attention import set_cross_attention, set_self_attention
from polyrhythm_agent.denoiser.layers.convolution import FirstPatchConv2d, PatchConv2d, PatchGroupNorm, PatchSlot
from polyrhythm_agent.denoiser.operators.layers import OperatorConv2d
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.ports.layers import ExchangedLayer

KNOWN_OPTIONS: dict[str, tuple[object, ...]] = {
    "addition_embed_type": (None, "text_time"),
    "attention_type": ("default",),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "cross_attention_norm": (None,),
    "dual_cross_attention": (False,),
    "encoder_hid_dim_type": (None,),
    "mid_block_only_cross_attention": (None, False),
    "mid_block_type": (None, "UNetMidBlock2DCrossAttn"),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "resnet_skip_time_act": (False,),
    "time_embedding_act_fn": (None,),
    "time_embedding_type": ("positional",),
}
"""What this adapter's forward does; a config that asks for more is refused."""

KNOWN_BLOCKS = {"CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"}

Exchanging: TypeAlias = PatchConv2d | PatchGroupNorm | Attention
"""Modules that exchange something, or attend to the text."""

TEXT_WIDTH_KEY = "cross_attention_dim"
SDXL_TIME_IDS = 6
"""Height and width of the original, top and left of its crop, height and width of the target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetLayer:
    """One exchanging layer, whatever the picture.

    Attributes:
        sizes: for one batch element and one column of the latent.
        is_latent: whether it is the convolution over the latent, which is the same for all batch elements.
    """

    sizes: ExchangedLayer
    is_latent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetLayers:
    """What a patched UNet exchanges.

    Attributes:
        unit: latent rows of one row unit: one row of the lowest level.
        layers: in order.
        cross_attentions: in order.
    """

    unit: int
    layers: Mapping[LayerId, UNetLayer]
    cross_attentions: Mapping[LayerId, Attention]

    def exchanged(self, *, latent_width: int, batch: int) -> Mapping[LayerId, ExchangedLayer]:
        """The layers for a picture."""
        return {
            name: replace(
                layer.sizes,
                columns=-(-latent_width // layer.sizes.shrink),
                batch=1 if layer.is_latent else batch,
            )
            for name, layer in self.layers.items()
        }


def text_width(config: Mapping[str, Any]) -> int:
    """Features of one token that a UNet attends to; its config has one number, or one for each block.

    Raises:
        ModelFolderError: it attends to none, or its blocks to several.
    """
    named = config[TEXT_WIDTH_KEY]
    widths = set(named) if isinstance(named, list | tuple) else {named}
    width = widths.pop() if len(widths) == 1 else None
    if not isinstance(width, int):
        raise ModelFolderError(f"unet: {TEXT_WIDTH_KEY}={named!r} is not supported")
    return width


def pooled_width(config: Mapping[str, Any]) -> int | None:
    """Features of the pooled text that a UNet is told beside SDXL's sizes; None where it is told neither.

    Raises:
        ModelFolderError: its config leaves no room for a text.
    """
    if config["addition_embed_type"] != "text_time":
        return None
    all_of_it, size = config["projection_class_embeddings_input_dim"], config["addition_time_embed_dim"]
    if not isinstance(size, int) or not 0 < SDXL_TIME_IDS * size < all_of_it:
        raise ModelFolderError(
            f"unet: projection_class_embeddings_input_dim={all_of_it!r} has no room for a text beside {SDXL_TIME_IDS} "
            f"sizes of addition_time_embed_dim={size!r}"
        )
    return all_of_it - SDXL_TIME_IDS * size


def patch_unet(unet: UNet2DConditionModel, slot: PatchSlot) -> UNetLayers:
    """Puts wrappers in the places of a UNet's convolutions, normalisations and attention processors.

    Args:
        unet: with the operators that it was loaded with.
        slot: where the wrappers find the forward that runs.

    Raises:
        ModelFolderError: the UNet is of a make that this adapter does not know.
    """
    _check_make(unet)
    names: dict[nn.Module, LayerId] = {}
    for path, module in list(unet.named_modules()):
        name = LayerId(path)
        if isinstance(module, OperatorConv2d) and max(module.kernel_size) > 1:
            _check_convolution(name, module)
            kind = FirstPatchConv2d if module is unet.conv_in else PatchConv2d
            unet.set_submodule(name, kind(name, module, slot))
        elif isinstance(module, nn.GroupNorm):
            unet.set_submodule(name, PatchGroupNorm(name, module, slot))
        elif isinstance(module, Attention):
            names[module] = name
    unit = 2 ** (len(unet.config["block_out_channels"]) - 1)
    layers: dict[LayerId, UNetLayer] = {}
    cross_attentions: dict[LayerId, Attention] = {}
    for module, height in _observe(unet, slot, unit):
        if not isinstance(module, Attention):
            layers[module.layer] = _layer(module, unit // height)
        elif module.is_cross_attention:
            cross_attentions[names[module]] = module
            set_cross_attention(names[module], module)
        else:
            layers[names[module]] = _attention_layer(module, unit // height)
            set_self_attention(names[module], module)
    return UNetLayers(unit=unit, layers=layers, cross_attentions=cross_attentions)


@torch.inference_mode()
def _observe(unet: UNet2DConditionModel, slot: PatchSlot, unit: int) -> list[tuple[Exchanging, int]]:
    """Runs a picture of one row unit; every layer that exchanges or attends to the text, with its rows, in order."""
    seen: list[tuple[Exchanging, int]] = []

    def note(layer: Exchanging, hidden: Tensor) -> None:
        # Tokens are (B, N, D) of a square picture; anything else is (B, C, H, W).
        seen.append((layer, hidden.shape[2] if hidden.ndim == 4 else round(hidden.shape[1] ** 0.5)))

    hooks = [
        module.register_forward_pre_hook(lambda module, arguments: note(module, arguments[0]))
        for module in unet.modules()
        if isinstance(module, Attention)
    ]
    slot.probe = note
    try:
        _small_forward(unet, unit)
    finally:
        slot.probe = None
        for hook in hooks:
            hook.remove()
    return seen


def _small_forward(unet: UNet2DConditionModel, unit: int) -> None:
    config: Any = unet.config
    place: Any = {"device": unet.device, "dtype": unet.dtype}
    added: dict[str, Tensor] = {}
    if (pooled := pooled_width(config)) is not None:
        added = {"text_embeds": torch.zeros(1, pooled, **place), "time_ids": torch.zeros(1, SDXL_TIME_IDS, **place)}
    latent_BCHW = torch.zeros(1, config["in_channels"], unit, unit, **place)
    text_BLT = torch.zeros(1, 1, text_width(config), **place)
    unet(latent_BCHW, 0, text_BLT, added_cond_kwargs=added)


def _layer(module: PatchConv2d | PatchGroupNorm, shrink: int) -> UNetLayer:
    if isinstance(module, PatchGroupNorm):
        sizes = ExchangedLayer(
            kind=LayerKind.MOMENTS, shrink=shrink, columns=1, features=module.norm.num_groups, batch=1, precise=True
        )
        return UNetLayer(sizes=sizes, is_latent=False)
    is_latent = isinstance(module, FirstPatchConv2d)
    channels = module.conv.in_channels
    sizes = ExchangedLayer(
        kind=LayerKind.HALO,
        shrink=shrink,
        columns=1,
        features=2 * channels if is_latent else channels,  # of the latent both x and x0
        batch=1,
        rows_above=module.rows_above,
        rows_below=module.rows_below,
        precise=is_latent,
    )
    return UNetLayer(sizes=sizes, is_latent=is_latent)


def _attention_layer(module: Attention, shrink: int) -> UNetLayer:
    assert module.to_k is not None
    features = module.to_k.out_features
    sizes = ExchangedLayer(kind=LayerKind.TOKENS, shrink=shrink, columns=1, features=features, batch=1)
    return UNetLayer(sizes=sizes, is_latent=False)


def _check_convolution(name: LayerId, conv: nn.Conv2d) -> None:
    """What the rims of a patch are computed for: 3 x 3 with one row of zeros around the picture, stride 1 or 2."""
    sizes = (conv.kernel_size, conv.padding, conv.dilation)
    if sizes != ((3, 3), (1, 1), (1, 1)) or conv.stride not in {(1, 1), (2, 2)}:
        raise ModelFolderError(f"unet: {name} is no convolution of 3 x 3 with zeros around the picture")


def _check_make(unet: UNet2DConditionModel) -> None:
    config: Any = unet.config
    odd = [
        f"{key}={config[key]!r}" for key, known in KNOWN_OPTIONS.items() if key in config and config[key] not in known
    ]
    blocks = {*config["down_block_types"], *config["up_block_types"]} - KNOWN_BLOCKS
    if blocks:
        odd.append(f"blocks {', '.join(sorted(blocks))}")
    if config["in_channels"] != config["out_channels"]:
        odd.append(f"{config['in_channels']} channels in, {config['out_channels']} out")
    if odd:
        raise ModelFolderError(f"unet: {', '.join(odd)} is not supported")
