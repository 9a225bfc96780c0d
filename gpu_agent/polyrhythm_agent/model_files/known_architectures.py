"""Sizes and settings of Stable Diffusion 1.x, 2.x and XL, as their authors published them. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from polyrhythm_agent.model_files.checkpoint_spec import EPSILON, VELOCITY

Config: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A model, but for its weights.

    Attributes:
        name: for people.
        files: its configs, by their names in a folder in diffusers format.
        tokenizers: its tokenizers, all of one vocabulary.
    """

    name: str
    files: Mapping[str, Config]
    tokenizers: tuple[str, ...]


def _unet(**sizes: Any) -> Config:
    """What the three have in common; Rombach et al. 2022, Podell et al. 2023."""
    return {
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "center_input_sample": False,
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": 4,
        "layers_per_block": 2,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-5,
        "norm_num_groups": 32,
        "out_channels": 4,
        **sizes,
    }


def _autoencoder(**settings: Any) -> Config:
    return {
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "in_channels": 3,
        "latent_channels": 4,
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "out_channels": 3,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        **settings,
    }


def _clip(*, width: int, layers: int, heads: int, activation: str, projection: int) -> Config:
    """A text encoder of CLIP or OpenCLIP; all have CLIP's vocabulary and the limit of 77 tokens."""
    return {
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_act": activation,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 77,
        "model_type": "clip_text_model",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "pad_token_id": 1,
        "projection_dim": projection,
        "vocab_size": 49408,
    }


def _tokenizer(padding: str) -> Config:
    return {
        "bos_token": "<|startoftext|>",
        "do_lower_case": True,
        "eos_token": "<|endoftext|>",
        "model_max_length": 77,
        "pad_token": padding,
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": "<|endoftext|>",
    }


def _index(pipeline: str, **parts: str) -> Config:
    libraries = {"CLIP": "transformers"}
    listed = {part: [libraries.get(kind[:4], "diffusers"), kind] for part, kind in parts.items()}
    return {"_class_name": pipeline, **listed}


_NOISE: Config = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "trained_betas": None,
}
_DDIM: Config = {"_class_name": "DDIMScheduler", "set_alpha_to_one": False, **_NOISE}
"""What the original code samples with."""

_CLIP_L = _clip(width=768, layers=12, heads=12, activation="quick_gelu", projection=768)
_OPEN_CLIP_H = _clip(width=1024, layers=23, heads=16, activation="gelu", projection=512)
_OPEN_CLIP_G = _clip(width=1280, layers=32, heads=20, activation="gelu", projection=1280)
_PAD_WITH_END, _PAD_WITH_NOTHING = _tokenizer("<|endoftext|>"), _tokenizer("!")
"""OpenCLIP's models were trained with token 0 behind a text, which is the exclamation mark."""

_FOUR_LEVELS = {
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
}
_ONE_ENCODER = _index(
    "StableDiffusionPipeline",
    scheduler="DDIMScheduler",
    text_encoder="CLIPTextModel",
    tokenizer="CLIPTokenizer",
    unet="UNet2DConditionModel",
    vae="AutoencoderKL",
)

STABLE_DIFFUSION_1 = Architecture(
    name="stable-diffusion-1",
    files={
        "model_index.json": _ONE_ENCODER,
        "scheduler/scheduler_config.json": {**_DDIM, "prediction_type": "epsilon"},
        "text_encoder/config.json": _CLIP_L,
        "tokenizer/tokenizer_config.json": _PAD_WITH_END,
        "unet/config.json": _unet(**_FOUR_LEVELS, attention_head_dim=8, cross_attention_dim=768, sample_size=64),
        "vae/config.json": _autoencoder(sample_size=512, scaling_factor=0.18215),
    },
    tokenizers=("tokenizer",),
)


def _stable_diffusion_2(name: str, predicts: str, side_px: int) -> Architecture:
    return Architecture(
        name=name,
        files={
            "model_index.json": _ONE_ENCODER,
            "scheduler/scheduler_config.json": {**_DDIM, "prediction_type": predicts},
            "text_encoder/config.json": _OPEN_CLIP_H,
            "tokenizer/tokenizer_config.json": _PAD_WITH_NOTHING,
            "unet/config.json": _unet(
                **_FOUR_LEVELS,
                attention_head_dim=[5, 10, 20, 20],
                cross_attention_dim=1024,
                sample_size=side_px // 8,
                upcast_attention=True,
                use_linear_projection=True,
            ),
            "vae/config.json": _autoencoder(sample_size=side_px, scaling_factor=0.18215),
        },
        tokenizers=("tokenizer",),
    )


STABLE_DIFFUSION_2 = _stable_diffusion_2("stable-diffusion-2", VELOCITY, 768)
STABLE_DIFFUSION_2_BASE = _stable_diffusion_2("stable-diffusion-2-base", EPSILON, 512)
SDXL = Architecture(
    name="stable-diffusion-xl",
    files={
        "model_index.json": {
            **_index(
                "StableDiffusionXLPipeline",
                scheduler="EulerDiscreteScheduler",
                text_encoder="CLIPTextModel",
                text_encoder_2="CLIPTextModelWithProjection",
                tokenizer="CLIPTokenizer",
                tokenizer_2="CLIPTokenizer",
                unet="UNet2DConditionModel",
                vae="AutoencoderKL",
            ),
            "force_zeros_for_empty_prompt": True,
        },
        "scheduler/scheduler_config.json": {
            "_class_name": "EulerDiscreteScheduler",
            "interpolation_type": "linear",
            "prediction_type": "epsilon",
            "timestep_spacing": "leading",
            "use_karras_sigmas": False,
            **{name: value for name, value in _NOISE.items() if name != "clip_sample"},
        },
        "text_encoder/config.json": _CLIP_L,
        "text_encoder_2/config.json": _OPEN_CLIP_G,
        "tokenizer/tokenizer_config.json": _PAD_WITH_END,
        "tokenizer_2/tokenizer_config.json": _PAD_WITH_NOTHING,
        "unet/config.json": _unet(
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            attention_head_dim=[5, 10, 20],
            block_out_channels=[320, 640, 1280],
            cross_attention_dim=2048,
            down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            projection_class_embeddings_input_dim=2816,
            sample_size=128,
            transformer_layers_per_block=[1, 2, 10],
            up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            use_linear_projection=True,
        ),
        "vae/config.json": _autoencoder(force_upcast=True, sample_size=1024, scaling_factor=0.13025),
    },
    tokenizers=("tokenizer", "tokenizer_2"),
)
