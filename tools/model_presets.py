"""Derives the models of `polyrhythm simulate --model-preset` from their architectures; no weights are read or made.

    python tools/model_presets.py > coordinator/polyrhythm_coordinator/simulation/presets/models.toml

Configs are those that the models' authors publish; of Stable Diffusion, the ones that agents know. Modules are built on
torch's meta device, where a forward computes nothing and its operations can be counted (two for a multiplication and an
addition). Memory and exchanged layers come from the functions that agents use for real models.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from math import ceil
from typing import Any

import torch
from diffusers import AutoencoderKL, PixArtTransformer2DModel, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from polyrhythm.model.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.model.facts import ModelFacts
from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.denoiser.families.unet_facts import layer_groups
from polyrhythm_agent.denoiser.families.unet_layers import patch_unet
from polyrhythm_agent.denoiser.families.unet_memory import held_numbers
from polyrhythm_agent.denoiser.layers.convolution import PatchSlot
from polyrhythm_agent.denoiser.memory import FEED_FORWARD_WIDTHS, model_memory
from polyrhythm_agent.model_files.known_architectures import SDXL, STABLE_DIFFUSION_1, Architecture
from polyrhythm_coordinator.simulation.fleet_files.fleet_text import table_lines

DTYPE = torch.float16
SAMPLERS = (Sampler.DPM_SOLVER_PP_2M, Sampler.DDIM, Sampler.EULER)
PIXELS_MAX_OF_TRAINED = 16
T5_XXL = 4_762_310_656
"""Parameters of PixArt's text encoder."""
PIXART = {
    "num_layers": 28, "num_attention_heads": 16, "attention_head_dim": 72, "out_channels": 8, "patch_size": 2,
    "cross_attention_dim": 1152, "caption_channels": 4096, "norm_type": "ada_norm_single", "num_embeds_ada_norm": 1000,
}  # fmt: skip


def flops(forward: Callable[[], object]) -> int:
    """Operations of a forward."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward()
    return counter.get_total_flops()


def parameters(config: Mapping[str, Any], kind: type[CLIPTextModel | CLIPTextModelWithProjection]) -> int:
    """Of a text encoder."""
    return sum(each.numel() for each in kind(CLIPTextConfig.from_dict(dict(config))).parameters())


def unet_preset(name: str, architecture: Architecture, *, guidance: float) -> None:
    """Writes the preset of a UNet."""
    files = architecture.files
    config = files["unet/config.json"]
    encoders = tuple(
        parameters(files[f"{part}/config.json"], kind)
        for part, kind in (("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection))
        if f"{part}/config.json" in files
    )
    side, width = config["sample_size"], config["cross_attention_dim"]
    tokens = files["tokenizer/tokenizer_config.json"]["model_max_length"]
    unet = UNet2DConditionModel.from_config(dict(config)).eval().to(DTYPE)
    added = {"text_embeds": torch.zeros(1, 1280, dtype=DTYPE), "time_ids": torch.zeros(1, 6, dtype=DTYPE)}
    texts = torch.zeros(1, tokens, width, dtype=DTYPE)
    latent, moment = torch.zeros(1, 4, side, side, dtype=DTYPE), torch.zeros(1)
    forward_flops = flops(lambda: unet(latent, moment, texts, added_cond_kwargs=added))
    layers = patch_unet(unet, PatchSlot())
    kept = sum(2 * attention.inner_kv_dim for attention in layers.cross_attentions)
    gathered = max(
        2 * layer.sizes.features / layer.sizes.shrink**2
        for layer in layers.layers
        if layer.sizes.kind is LayerKind.TOKENS
    )
    _write(
        name, unet, side,
        guidance=guidance, encoders=encoders, tokens=tokens, row_unit_px=8 * layers.unit, forward_flops=forward_flops,
        condition_bytes=tokens * (4 * width + 2 * kept), own_token_bytes=ceil(2 * max(held_numbers(unet))) + 32,
        image_token_bytes=ceil(2 * gathered), exchanged=layer_groups(layers.layers, scale_px=8, dtype=DTYPE),
    )  # fmt: skip


def pixart_preset(name: str, side: int) -> None:
    """Writes the preset of a PixArt-alpha."""
    tokens, large = 120, side == 128
    transformer = PixArtTransformer2DModel(**PIXART, sample_size=side, use_additional_conditions=large).eval().to(DTYPE)
    size = {"resolution": torch.zeros(1, 2, dtype=DTYPE), "aspect_ratio": torch.zeros(1, 1, dtype=DTYPE)}
    latent, moment = torch.zeros(1, 4, side, side, dtype=DTYPE), torch.zeros(1, dtype=DTYPE)
    texts = torch.zeros(1, tokens, 4096, dtype=DTYPE)
    added = size if large else {"resolution": None, "aspect_ratio": None}
    forward_flops = flops(lambda: transformer(latent, texts, moment, added_cond_kwargs=added))
    width, layers = transformer.inner_dim, len(transformer.transformer_blocks)
    group = LayerGroup(kind=LayerKind.TOKENS, layers=layers, cell_px=16, cell_bytes=2 * width * 2)
    _write(
        name, transformer, side,
        guidance=4.5, encoders=(T5_XXL,), tokens=tokens, row_unit_px=16, forward_flops=forward_flops,
        condition_bytes=tokens * (4 * 4096 + layers * (2 * width + 16) * 2),
        own_token_bytes=FEED_FORWARD_WIDTHS * width * 2, image_token_bytes=2 * width * 2 + width * 4,
        exchanged=(group,),
    )  # fmt: skip


def _write(
    name: str, denoiser: Any, side: int,
    *,
    guidance: float, encoders: tuple[int, ...], tokens: int, row_unit_px: int, forward_flops: int, condition_bytes: int,
    own_token_bytes: int, image_token_bytes: int, exchanged: tuple[LayerGroup, ...],
) -> None:  # fmt: skip
    # those of SDXL and PixArt have the same layers
    vae = AutoencoderKL.from_config(dict(STABLE_DIFFUSION_1.files["vae/config.json"])).eval().to(DTYPE)
    latent = torch.zeros(1, 4, side, side, dtype=DTYPE)
    memory = model_memory(
        denoiser, vae, (), encode_bytes=0, condition_bytes=condition_bytes, own_token_bytes=own_token_bytes,
        image_token_bytes=image_token_bytes,
    )  # fmt: skip
    encoder_bytes = 2 * sum(encoders)
    facts = ModelFacts(
        name=name, family="preset", fingerprint=f"preset-{name}", dtype="float16", samplers=SAMPLERS,
        default_width_px=8 * side, default_height_px=8 * side, default_steps=30, default_guidance=guidance,
        pixel_multiple=row_unit_px if row_unit_px == 16 else 8, row_unit_px=row_unit_px,
        pixels_max=PIXELS_MAX_OF_TRAINED * (8 * side) ** 2, token_limit=tokens, exchanged=exchanged,
        token_px=16 if row_unit_px == 16 else 8, latent_bytes_per_token=64 if row_unit_px == 16 else 16,
        weights_bytes=memory.denoiser_bytes + memory.autoencoder_bytes + encoder_bytes,
    )  # fmt: skip
    held = {key: value for key, value in asdict(facts).items() if value not in (None, (), "")}
    held["memory"] = {**asdict(memory), "text_encoder_bytes": encoder_bytes}
    work = {
        "forward_flops": forward_flops,
        "decode_flops": flops(lambda: vae.decode(latent)),
        "encode_flops": sum(2 * parameters * tokens for parameters in encoders),
    }
    sys.stdout.write(
        "".join(f"{line}\n" for line in (*table_lines(f"[{name}.work]", work), *table_lines(f"[{name}.facts]", held)))
    )


if __name__ == "__main__":
    sys.stdout.write("# Derived by tools/model_presets.py from published architectures; nothing here is measured.\n")
    with torch.device("meta"):
        unet_preset("sd15", STABLE_DIFFUSION_1, guidance=7.5)
        unet_preset("sdxl", SDXL, guidance=5.0)
        pixart_preset("pixart-512", 64)
        pixart_preset("pixart-1024", 128)
