"""Tiny random UNet models in ordinary diffusers folders: Stable Diffusion 1.5's and SDXL's shapes with few features.

Owns their shapes and their weights, which follow from a seed alone. They paint noise; nothing may be asserted on what
a picture shows.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tests.tiny_models.transformers import BETA_END, WORDS, randomised

TEXT_WIDTH = 16
TOKEN_LIMIT = 24


def tiny_sd_folder(path: Path, *, seed: int = 0, scheduler: object | None = None) -> Path:
    """Writes a Stable Diffusion 1.5 pipeline of four levels, so of row units of 8 latent rows.

    Pictures are 8 pixels a latent, so a unit is 64 px. The lowest level has no attention, as in SD 1.5.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = StableDiffusionPipeline(
            tokenizer=_tokenizer(),
            text_encoder=_text_encoder(CLIPTextModel),
            vae=_autoencoder(),
            unet=_sd_unet(),
            scheduler=scheduler or _scheduler(),  # pyright: ignore[reportArgumentType]
            safety_checker=None,  # pyright: ignore[reportArgumentType]
            feature_extractor=None,  # pyright: ignore[reportArgumentType]
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(path, safe_serialization=True)
    return path


def tiny_lcm_folder(path: Path, *, seed: int = 0) -> Path:
    """Writes a latent consistency pipeline: a UNet as Stable Diffusion 1.5's that is told the guidance."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = LatentConsistencyModelPipeline(
            tokenizer=_tokenizer(),
            text_encoder=_text_encoder(CLIPTextModel),
            vae=_autoencoder(),
            unet=_sd_unet(time_cond_proj_dim=256),
            scheduler=LCMScheduler(steps_offset=1, original_inference_steps=50),
            safety_checker=None,  # pyright: ignore[reportArgumentType]
            feature_extractor=None,  # pyright: ignore[reportArgumentType]
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(path, safe_serialization=True)
    return path


def tiny_sdxl_folder(path: Path, *, seed: int = 0, scheduler: object | None = None, **unet: Any) -> Path:
    """Writes an SDXL pipeline of three levels, so of row units of 4 latent rows: two text encoders, sizes, no attention
    at the highest level and two transformer blocks at the lowest.

    Args:
        path: folder to make.
        seed: of all weights.
        scheduler: in place of a DDIM with Stable Diffusion's options.
        unet: what is to be other in the UNet's config.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = StableDiffusionXLPipeline(
            tokenizer=_tokenizer(),
            tokenizer_2=_tokenizer(),
            text_encoder=_text_encoder(CLIPTextModel),
            text_encoder_2=_text_encoder(CLIPTextModelWithProjection),
            vae=_autoencoder(),
            unet=_randomised_unet(UNet2DConditionModel(**_sdxl_unet() | unet)),
            scheduler=scheduler or _scheduler(),  # pyright: ignore[reportArgumentType]
            add_watermarker=False,
        )
    pipeline.save_pretrained(path, safe_serialization=True)
    return path


def _sdxl_unet() -> dict[str, Any]:
    time_width = 8
    return {
        "sample_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (8, 8, 16),
        "layers_per_block": 1,
        "transformer_layers_per_block": (1, 1, 2),
        "cross_attention_dim": 2 * TEXT_WIDTH,
        "attention_head_dim": (2, 2, 4),
        "norm_num_groups": 4,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": time_width,
        "projection_class_embeddings_input_dim": TEXT_WIDTH + 6 * time_width,
    }


SMALL_SDXL: Mapping[str, Any] = {
    "mid_block_type": None,
    "layers_per_block": 2,
    "transformer_layers_per_block": [1, [1, 1], [2, 1]],
    "reverse_transformer_layers_per_block": [[2, 1, 1], [1, 1, 1], 1],
}
"""What makes SSD-1B of SDXL: no middle block, and transformers of different depths, which the way up has more of."""

GUIDED_SDXL: Mapping[str, Any] = {"time_cond_proj_dim": 12}
"""A UNet that is told the guidance, as those of latent consistency models are."""


def tiny_small_folder(path: Path) -> Path:
    """Writes an SDXL pipeline whose UNet is cut as SSD-1B's is."""
    return tiny_sdxl_folder(path, **SMALL_SDXL)


TINY_UNETS: Mapping[str, Callable[[Path], Path]] = {"sd": tiny_sd_folder, "sdxl": tiny_sdxl_folder}
"""Who writes them, by name."""


def _scheduler() -> DDIMScheduler:
    """With the options of Stable Diffusion's own: without the offset the last step would go nowhere."""
    return DDIMScheduler(
        beta_end=BETA_END,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def _autoencoder() -> AutoencoderKL:
    return randomised(
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType]
            up_block_types=("UpDecoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType]
            block_out_channels=(8,) * 4,  # pyright: ignore[reportArgumentType]
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            scaling_factor=0.5,
        )
    )


def _text_encoder(kind: Any) -> Any:
    vocabulary = len(_vocabulary())
    return randomised(
        kind(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=TEXT_WIDTH,
                intermediate_size=32,
                projection_dim=TEXT_WIDTH,
                num_hidden_layers=3,
                num_attention_heads=2,
                max_position_embeddings=TOKEN_LIMIT,
                bos_token_id=vocabulary - 2,
                eos_token_id=vocabulary - 1,
                pad_token_id=vocabulary - 1,
            )
        )
    )


def _tokenizer() -> CLIPTokenizer:
    """Letters and some words as byte pairs; start and end come last, as in CLIP."""
    merges: Any = [("a", "p"), ("ap", "p")]  # transformers' own annotation leaves out pairs
    return CLIPTokenizer(vocab=_vocabulary(), merges=merges, model_max_length=TOKEN_LIMIT)


def _vocabulary() -> dict[str, int]:
    letters = string.ascii_lowercase
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "ap", "app", *WORDS]
    return {token: index for index, token in enumerate(dict.fromkeys([*tokens, "<|startoftext|>", "<|endoftext|>"]))}


def _sd_unet(**changes: Any) -> UNet2DConditionModel:
    """Four levels; the lowest has no attention."""
    return _randomised_unet(
        UNet2DConditionModel(
            sample_size=64,
            in_channels=4,
            out_channels=4,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            block_out_channels=(8, 8, 16, 16),
            layers_per_block=1,
            cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=2,
            norm_num_groups=4,
            **changes,
        )
    )


def _randomised_unet(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Tamer than a transformer: with its many layers a UNet of stronger gains is chaotic (rounding grows to 1e-2)."""
    return randomised(unet, attention_gain=1.5, head_gain=0.1)
