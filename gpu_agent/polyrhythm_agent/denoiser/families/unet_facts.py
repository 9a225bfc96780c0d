"""What the coordinator is told of a UNet model: sizes, and what its layers send, in groups of like ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from packaging.version import Version

from polyrhythm.model.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.model.facts import ModelFacts
from polyrhythm.model.request_choices import LongPrompt
from polyrhythm_agent.denoiser.decoding import latent_scale
from polyrhythm_agent.denoiser.families.unet_layers import UNetLayer, UNetLayers
from polyrhythm_agent.denoiser.families.unet_memory import unet_memory
from polyrhythm_agent.denoiser.files.trained_size import SIZE, trained_sides
from polyrhythm_agent.denoiser.guided_run import state_dtype_of
from polyrhythm_agent.denoiser.on_demand import OnDemand, module_bytes
from polyrhythm_agent.denoiser.sampling.sampling import ModelSampling
from polyrhythm_agent.denoiser.text.clip import ClipText

OLD = Version("0.9.0.dev0")
"""Before it, diffusers wrote a default in the place of what Stable Diffusion was trained with."""

PIXELS_MAX_OF_TRAINED = 16
"""Largest picture as a multiple of the trained area."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetFamily:
    """What differs between the UNet families.

    Attributes:
        name: of the adapter.
        default_steps: steps when the user names none.
        default_guidance: guidance when the user names none.
        least_side_of_old: trained latent side that files of diffusers before ``OLD`` mean when they name a smaller one.
        default_side: of the latent, where a model's config does not say what it was trained on.
        scales_channels: whether its pipeline heeds the mean and the deviation of each latent channel.
    """

    name: str
    default_steps: int
    default_guidance: float
    least_side_of_old: int = 0
    default_side: int = 64
    scales_channels: bool = False


def unet_facts(
    model: str,
    *,
    family: UNetFamily,
    unet: UNet2DConditionModel,
    vae: OnDemand[AutoencoderKL],
    text: ClipText,
    layers: UNetLayers,
    sampling: ModelSampling,
    fingerprint: str,
) -> ModelFacts:
    """Facts of a model.

    Args:
        model: name in requests.
        family: of the model.
        unet: the denoiser.
        vae: the autoencoder.
        text: tokenizers and encoders.
        layers: what the UNet exchanges.
        sampling: what the scheduler config allows.
        fingerprint: of the folder.
    """
    scale = latent_scale(vae.outline)
    height_px, width_px = (side * scale for side in _trained_latent(unet, family))
    return ModelFacts(
        name=model,
        family=family.name,
        fingerprint=fingerprint,
        dtype=str(unet.dtype).removeprefix("torch."),
        samplers=sampling.samplers,
        default_width_px=width_px,
        default_height_px=height_px,
        default_steps=family.default_steps,
        default_guidance=family.default_guidance,
        pixel_multiple=scale,
        row_unit_px=layers.unit * scale,
        pixels_max=PIXELS_MAX_OF_TRAINED * height_px * width_px,
        token_limit=text.token_limit,
        exchanged=layer_groups(layers.layers.values(), scale_px=scale, dtype=unet.dtype),
        token_px=scale,
        latent_bytes_per_token=unet.config["in_channels"] * torch.float32.itemsize,
        weights_bytes=module_bytes(unet)
        + sum(each.size_bytes for each in (vae, *(part.encoder for part in text.encoders))),
        full_rate_samplers=sampling.full_rate_samplers,
        long_prompts=(LongPrompt.CUT, LongPrompt.CHUNK),
        notices=sampling.notices,
        guidance_embedded=unet.config["time_cond_proj_dim"] is not None,
        memory=unet_memory(unet, layers, vae=vae.outline, text=text),
    )


def _trained_latent(unet: UNet2DConditionModel, family: UNetFamily) -> tuple[int, int]:
    """Height and width: a config has one side, both, or null.

    Raises:
        ModelFolderError: it has something else.
    """
    size = family.default_side if unet.config[SIZE] is None else unet.config[SIZE]
    height, width = trained_sides("unet", size)
    written_by = unet.config.get("_diffusers_version")
    is_old = written_by is not None and Version(Version(written_by).base_version) < OLD
    if is_old and isinstance(size, int):
        height = width = max(size, family.least_side_of_old)
    return height, width


def layer_groups(layers: Iterable[UNetLayer], *, scale_px: int, dtype: torch.dtype) -> tuple[LayerGroup, ...]:
    """Like layers counted together, in the order of their first one.

    Args:
        layers: of the UNet.
        scale_px: pixels on a side of one latent.
        dtype: in which activations travel.
    """
    counts = Counter(layers)
    return tuple(
        LayerGroup(
            kind=layer.sizes.kind,
            layers=count,
            cell_px=layer.sizes.shrink * scale_px,
            cell_bytes=_cell_bytes(layer, dtype),
            rows_above=layer.sizes.rows_above,
            rows_below=layer.sizes.rows_below,
            guided=not layer.is_latent,
        )
        for layer, count in counts.items()
    )


def _cell_bytes(layer: UNetLayer, dtype: torch.dtype) -> int:
    item_bytes = (state_dtype_of(dtype) if layer.sizes.precise else dtype).itemsize
    match layer.sizes.kind:
        case LayerKind.TOKENS | LayerKind.MOMENTS:
            return 2 * layer.sizes.features * item_bytes  # key and value, or mean and variance
        case LayerKind.HALO:
            return layer.sizes.features * item_bytes
        case _:
            assert_never(layer.sizes.kind)
