"""Tiny random models in ordinary diffusers folders, for every suite that needs a denoiser.

Owns their shapes and their weights, which follow from a seed alone. They paint noise; nothing may be asserted on what
a picture shows.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
)
from torch import nn
from transformers import T5Config, T5EncoderModel, T5Tokenizer

TEXT_WIDTH = 16
BETA_END = 0.003
ModuleT = TypeVar("ModuleT", bound=nn.Module)
WORDS = ("a", "red", "green", "blue", "apple", "cat", "on", "the", "background", "blurry")


def tiny_pixart_folder(
    path: Path,
    *,
    seed: int = 0,
    layers: int = 3,
    heads: int = 2,
    head_dim: int = 8,
    sample_size: int = 32,
    token_limit: int = 120,
    text_inner: int = 32,
    scheduler: object | None = None,
    pipeline_class: type[PixArtAlphaPipeline | PixArtSigmaPipeline] = PixArtAlphaPipeline,
) -> Path:
    """Writes a PixArt pipeline of a few thousand parameters and returns its folder.

    Pictures are 4 pixels a latent and 8 a token, so 128 px are 16 token rows. The denoiser has a learned sigma, so
    eight output channels of which four are noise. The schedule starts at less noise than PixArt's: random predictions
    at its start make latents of several hundred, beside which nothing that happens later could be seen.

    Args:
        path: folder to make.
        seed: of all weights.
        layers: blocks of the denoiser.
        heads: attention heads of the denoiser.
        head_dim: features of a head; ``heads * head_dim`` is a multiple of 4, and of 3 with a sample size of 128.
        sample_size: trained latent side; at 128 the denoiser also takes size and aspect ratio, as PixArt's does.
        token_limit: longest prompt that the tokenizer claims to take.
        text_inner: inner width of the text encoder's feed-forward; its weights are 768 bytes each.
        scheduler: in place of a DPM-Solver++ 2M with PixArt's options.
        pipeline_class: of PixArt-alpha or PixArt-Sigma.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = pipeline_class(
            tokenizer=_tokenizer(token_limit),
            text_encoder=randomised(_text_encoder(text_inner)),
            vae=randomised(_autoencoder()),
            transformer=randomised(_transformer(layers, heads, head_dim, sample_size)),
            scheduler=scheduler or DPMSolverMultistepScheduler(beta_end=BETA_END),  # pyright: ignore[reportArgumentType]
        )
    pipeline.save_pretrained(path, safe_serialization=True)
    return path


def tiny_sigma_folder(path: Path, **changes: Any) -> Path:
    """Writes a PixArt-Sigma pipeline; arguments as of ``tiny_pixart_folder``."""
    return tiny_pixart_folder(path, **{"token_limit": 300, **changes}, pipeline_class=PixArtSigmaPipeline)


LABELS = {
    0: "tench, Tinca tinca",
    1: "goldfish, Carassius auratus",
    134: "crane",
    207: "golden retriever",
    264: "Cardigan, Cardigan Welsh corgi",
    474: "cardigan",
    517: "crane",
}
"""Some of ImageNet's: with several names, one name for two classes, and two names that differ in case alone."""


def tiny_dit_folder(
    path: Path,
    *,
    seed: int = 0,
    layers: int = 3,
    heads: int = 2,
    head_dim: int = 8,
    sample_size: int = 32,
    classes: int = 1000,
    scheduler: object | None = None,
) -> Path:
    """Writes a DiT pipeline of a few thousand parameters, as ``tiny_pixart_folder`` does, and returns its folder.

    Args:
        path: folder to make.
        seed: of all weights.
        layers: blocks of the denoiser.
        heads: attention heads of the denoiser.
        head_dim: features of a head.
        sample_size: trained latent side.
        classes: that the denoiser knows; diffusers' pipeline takes 1000 for the null class, whatever this says.
        scheduler: in place of the DDIM that DiT comes with.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = DiTTransformer2DModel(
            num_attention_heads=heads,
            attention_head_dim=head_dim,
            in_channels=4,
            out_channels=8,
            num_layers=layers,
            sample_size=sample_size,
            patch_size=2,
            num_embeds_ada_norm=classes,
        )
        pipeline = DiTPipeline(
            transformer=randomised(transformer),
            vae=randomised(_autoencoder()),
            scheduler=scheduler or DDIMScheduler(beta_end=BETA_END, clip_sample=False),  # pyright: ignore[reportArgumentType]
        )
    pipeline.save_pretrained(path, safe_serialization=True)
    index = path / "model_index.json"  # the pipeline reads the labels there and does not write them
    names = {str(number): name for number, name in LABELS.items() if number < classes}
    index.write_text(json.dumps(json.loads(index.read_text()) | {"id2label": names}))
    return path


def _transformer(layers: int, heads: int, head_dim: int, sample_size: int) -> PixArtTransformer2DModel:
    return PixArtTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        in_channels=4,
        out_channels=8,
        num_layers=layers,
        cross_attention_dim=heads * head_dim,
        sample_size=sample_size,
        patch_size=2,
        caption_channels=TEXT_WIDTH,
        norm_type="ada_norm_single",
    )


def _autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,  # pyright: ignore[reportArgumentType]
        up_block_types=("UpDecoderBlock2D",) * 3,  # pyright: ignore[reportArgumentType]
        block_out_channels=(8, 8, 8),  # pyright: ignore[reportArgumentType]
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
    )


def _text_encoder(inner: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=3 + 1 + len(WORDS) + len(string.ascii_lowercase),
            d_model=TEXT_WIDTH,
            d_kv=8,
            d_ff=inner,
            num_layers=2,
            num_heads=2,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
            eos_token_id=1,
        )
    )


def _tokenizer(token_limit: int) -> T5Tokenizer:
    """A unigram tokenizer of a few words and the letters; ids 0, 1 and 2 are padding, end and unknown, as in any T5."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words = [(f"▁{word}", -2.0) for word in WORDS]
    letters = [(letter, -8.0) for letter in "▁" + string.ascii_lowercase]
    return T5Tokenizer(vocab=special + words + letters, extra_ids=0, model_max_length=token_limit)


def randomised(model: ModuleT, *, attention_gain: float = 2.0, head_gain: float = 0.3) -> ModuleT:
    """Fresh weights everywhere: a zero that an initialiser left would hide what is multiplied by it.

    Image attention is strong, so that a missing or stale key or value is seen far above rounding. Stronger attention,
    or a stronger head, makes the denoiser chaotic: rounding itself then grows past any tolerance.

    Args:
        model: whose parameters are drawn.
        attention_gain: of image attention, beside 1 for other layers.
        head_gain: of the last layer.
    """
    gains = {"proj_out": head_gain, "conv_out": head_gain}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            gain = gains.get(name.split(".")[0], attention_gain if "attn1" in name else 1.0)
            if name.endswith("scale_shift_table"):
                parameter.normal_(std=1.0)
            elif parameter.ndim > 1:
                parameter.normal_(std=gain * parameter[0].numel() ** -0.5)
            elif name.endswith("weight"):
                parameter.normal_(mean=1.0, std=0.1)
            else:
                parameter.normal_(std=0.1)
    return model.eval()
