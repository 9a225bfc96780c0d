"""Loads Stable Diffusion 1.5 and SDXL pipeline folders part by part, through diffusers and transformers.

Owns which part is read how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from polyrhythm_agent.denoiser.decoding import LatentScaling
from polyrhythm_agent.denoiser.families.unet import UNetDenoiser, UNetParts
from polyrhythm_agent.denoiser.families.unet_facts import UNetFamily
from polyrhythm_agent.denoiser.families.unet_layers import TEXT_WIDTH_KEY, pooled_width, text_width
from polyrhythm_agent.denoiser.files.diffusers_parts import (
    as_folder_error,
    load_denoiser_part,
    part_on_demand,
    text_encoder_on_demand,
)
from polyrhythm_agent.denoiser.files.fitting import require_autoencoder, require_pooled_width, require_text_width
from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.denoiser.sampling.sampling import ModelSampling
from polyrhythm_agent.denoiser.sampling.scheduler_file import scheduler_config
from polyrhythm_agent.denoiser.text.clip import LEAST_TOKEN_LIMIT, ClipEncoder, ClipText
from polyrhythm_agent.errors import ModelFolderError

STABLE_DIFFUSION = UNetFamily(name="stable-diffusion", default_steps=50, default_guidance=7.5, least_side_of_old=64)
LATENT_CONSISTENCY = UNetFamily(name="latent-consistency", default_steps=4, default_guidance=8.5)
SDXL = UNetFamily(name="sdxl", default_steps=50, default_guidance=5.0, default_side=128, scales_channels=True)
"""Defaults are those of diffusers' pipelines."""

PARTS = ("unet", "vae", "scheduler", "text_encoder", "tokenizer")
"""What is loaded of both; SDXL has a second text encoder and tokenizer."""

ENCODER_SUFFIXES = ("", "_2")
"""Of the names of text encoders and tokenizers: the first, and SDXL's second."""

USE_MASK = "use_attention_mask"
ZERO_WHEN_EMPTY = "force_zeros_for_empty_prompt"
VOCABULARY_FILES = ("tokenizer.json", "vocab.json")


def load_stable_diffusion(folder: ModelFolder, *, model: str, dtype: torch.dtype, device: torch.device) -> UNetDenoiser:
    """Loads UNet and tokenizer; autoencoder and text encoder when they are first used.

    Raises:
        ModelFolderError: a part is missing, incomplete, or asks for something that this project does not have.
    """
    text = _one_text(folder, dtype, device)
    fingerprint = folder.fingerprint(*PARTS, settings=())
    return _load(folder, STABLE_DIFFUSION, text, fingerprint, model=model, dtype=dtype, device=device)


def load_latent_consistency(
    folder: ModelFolder, *, model: str, dtype: torch.dtype, device: torch.device
) -> UNetDenoiser:
    """As for Stable Diffusion: the same parts, of a UNet that is told the guidance.

    Raises:
        ModelFolderError: a part is missing, incomplete, or asks for something that this project does not have.
    """
    text = _one_text(folder, dtype, device)
    fingerprint = folder.fingerprint(*PARTS, settings=())
    return _load(folder, LATENT_CONSISTENCY, text, fingerprint, model=model, dtype=dtype, device=device)


def load_sdxl(folder: ModelFolder, *, model: str, dtype: torch.dtype, device: torch.device) -> UNetDenoiser:
    """Loads UNet and both tokenizers; autoencoder and text encoders when they are first used.

    Raises:
        ModelFolderError: a part is missing, incomplete, or asks for something that this project does not have.
    """
    text = ClipText(
        encoders=(
            _clip(folder, ENCODER_SUFFIXES[0], CLIPTextModel, dtype, device),
            _clip(folder, ENCODER_SUFFIXES[1], CLIPTextModelWithProjection, dtype, device),
        ),
        pooled=True,
        zero_when_empty=bool(folder.index.get(ZERO_WHEN_EMPTY, True)),
    )
    fingerprint = folder.fingerprint(*PARTS, "text_encoder_2", "tokenizer_2", settings=(ZERO_WHEN_EMPTY,))
    return _load(folder, SDXL, text, fingerprint, model=model, dtype=dtype, device=device)


def _load(
    folder: ModelFolder,
    family: UNetFamily,
    text: ClipText,
    fingerprint: str,
    *,
    model: str,
    dtype: torch.dtype,
    device: torch.device,
) -> UNetDenoiser:
    sampling = ModelSampling(scheduler_config(folder))
    vae = part_on_demand(AutoencoderKL, folder, "vae", dtype=_vae_dtype(folder, family, dtype), device=device)
    scaling = LatentScaling.read(vae.outline.config, by_channel=family.scales_channels)
    unet, outside = load_denoiser_part(UNet2DConditionModel, folder, "unet", dtype=dtype, device=device)
    require_autoencoder(folder, vae.outline, unet.config["in_channels"])
    _require_text(folder, text, unet.config)
    parts = UNetParts(
        unet=unet,
        vae=vae,
        scaling=scaling,
        text=text,
        sampling=sampling,
        fingerprint=fingerprint,
    )
    denoiser = UNetDenoiser(model=model, family=family, parts=parts)
    denoiser.facts = replace(denoiser.facts, notices=(*folder.notices, *denoiser.facts.notices))
    if outside is not None:
        denoiser.facts = outside.send_out(denoiser.facts)
    return denoiser


def _require_text(folder: ModelFolder, text: ClipText, config: Mapping[str, Any]) -> None:
    """Checks that the UNet is told what the text encoders make.

    Raises:
        ModelFolderError: it takes texts of another width.
    """
    names = [f"text_encoder{suffix}" for suffix in ENCODER_SUFFIXES]
    made = {name: encoder.width for name, encoder in zip(names, text.encoders, strict=False)}
    require_text_width(folder, made, part="unet", key=TEXT_WIDTH_KEY, taken=text_width(config))
    if (taken := pooled_width(config)) is not None:
        require_pooled_width(folder, list(made)[-1], text.pooled_width, taken)


def _vae_dtype(folder: ModelFolder, family: UNetFamily, dtype: torch.dtype) -> torch.dtype:
    """SDXL's autoencoder overflows in fp16; unless its config says that it does not, it is then run in fp32."""
    upcast = bool(folder.config_of("vae", "config.json").get("force_upcast", family is SDXL))
    return torch.float32 if upcast and dtype is torch.float16 else dtype


def _one_text(folder: ModelFolder, dtype: torch.dtype, device: torch.device) -> ClipText:
    """The text encoder of a pipeline that has one; these ask its config for a mask, SDXL's does not."""
    clip = _clip(folder, ENCODER_SUFFIXES[0], CLIPTextModel, dtype, device)
    return ClipText(encoders=(clip,), masked=bool(getattr(clip.encoder.outline.config, USE_MASK, False)))


def _clip(folder: ModelFolder, suffix: str, kind: Any, dtype: torch.dtype, device: torch.device) -> ClipEncoder:
    """One tokenizer with its encoder; the parts of SDXL's second one have a suffix."""
    tokenizer_part, encoder_part = f"tokenizer{suffix}", f"text_encoder{suffix}"
    # Without a vocabulary transformers would make up an empty one.
    folder.require_file(tokenizer_part, *VOCABULARY_FILES)
    with as_folder_error(folder, tokenizer_part), folder.readable(tokenizer_part) as readable:
        tokenizer = CLIPTokenizer.from_pretrained(readable, subfolder=tokenizer_part, local_files_only=True)
    encoder = text_encoder_on_demand(kind, folder, encoder_part, dtype=dtype, device=device)
    known, used = encoder.outline.config.vocab_size, len(tokenizer)
    if used > known:
        raise ModelFolderError(f"model: {tokenizer_part} in {folder.path} has {used} tokens, its encoder {known}")
    limit = int(tokenizer.model_max_length)
    if limit < LEAST_TOKEN_LIMIT:
        raise ModelFolderError(f"model: {tokenizer_part} in {folder.path} takes {limit} tokens, both marks included")
    if limit > encoder.outline.config.max_position_embeddings:
        raise ModelFolderError(
            f"model: {tokenizer_part} in {folder.path} takes {limit} tokens, its encoder "
            f"{encoder.outline.config.max_position_embeddings}"
        )
    return ClipEncoder(tokenizer=tokenizer, encoder=encoder)
