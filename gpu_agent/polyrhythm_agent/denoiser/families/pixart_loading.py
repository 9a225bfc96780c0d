"""Loads PixArt-alpha and PixArt-Sigma pipeline folders part by part, through diffusers and transformers.

Owns which part is read how.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, PixArtTransformer2DModel
from transformers import T5EncoderModel, T5Tokenizer

from polyrhythm_agent.denoiser.decoding import LatentScaling
from polyrhythm_agent.denoiser.families.pixart import ALPHA, SIGMA, PixArtDenoiser, PixArtParts, text_width_key
from polyrhythm_agent.denoiser.families.token_parts import TokenFamily
from polyrhythm_agent.denoiser.files.diffusers_parts import (
    as_folder_error,
    load_denoiser_part,
    part_on_demand,
    text_encoder_on_demand,
)
from polyrhythm_agent.denoiser.files.fitting import require_autoencoder, require_text_width
from polyrhythm_agent.denoiser.files.folder import ModelFolder
from polyrhythm_agent.denoiser.files.trained_size import require_trained_side
from polyrhythm_agent.denoiser.sampling.sampling import ModelSampling
from polyrhythm_agent.denoiser.sampling.scheduler_file import scheduler_config
from polyrhythm_agent.denoiser.text.t5 import T5Text
from polyrhythm_agent.errors import ModelFolderError

ALPHA_TOKENS_MAX = 120
"""What PixArt-alpha was trained with (Chen et al. 2023, section 3.1); a tokenizer may ask for less."""
SIGMA_TOKENS_MAX = 300
"""The same of PixArt-Sigma (Chen et al. 2024, section 2.1)."""

PARTS = ("transformer", "vae", "scheduler", "text_encoder", "tokenizer")
VOCABULARY_FILES = ("tokenizer.json", "spiece.model")


def load_pixart(folder: ModelFolder, *, model: str, dtype: torch.dtype, device: torch.device) -> PixArtDenoiser:
    """Loads transformer and tokenizer; autoencoder and text encoder when they are first used.

    Raises:
        ModelFolderError: a part is missing, incomplete, or asks for something that this project does not have.
    """
    # Models distilled to one step are not to be led to the end of the schedule; only alpha's pipeline knows that.
    sampling = ModelSampling(scheduler_config(folder), one_step_is_clean=True)
    return _load(folder, ALPHA, sampling, ALPHA_TOKENS_MAX, model=model, dtype=dtype, device=device)


def load_pixart_sigma(folder: ModelFolder, *, model: str, dtype: torch.dtype, device: torch.device) -> PixArtDenoiser:
    """As for PixArt-alpha, with longer prompts and without sizes in the condition.

    Raises:
        ModelFolderError: a part is missing, incomplete, or asks for something that this project does not have.
    """
    sampling = ModelSampling(scheduler_config(folder))
    return _load(folder, SIGMA, sampling, SIGMA_TOKENS_MAX, model=model, dtype=dtype, device=device)


def _load(
    folder: ModelFolder,
    family: TokenFamily,
    sampling: ModelSampling,
    tokens_max: int,
    *,
    model: str,
    dtype: torch.dtype,
    device: torch.device,
) -> PixArtDenoiser:
    vae = part_on_demand(AutoencoderKL, folder, "vae", dtype=dtype, device=device)
    scaling = LatentScaling.read(vae.outline.config, by_channel=False)
    require_trained_side(folder, "transformer")
    transformer, outside = load_denoiser_part(
        PixArtTransformer2DModel, folder, "transformer", dtype=dtype, device=device
    )
    require_autoencoder(folder, vae.outline, transformer.config["in_channels"])
    text = _text(folder, tokens_max, dtype, device)
    key = text_width_key(transformer.config)
    require_text_width(folder, {"text_encoder": text.width}, part="transformer", key=key, taken=transformer.config[key])
    parts = PixArtParts(
        transformer=transformer,
        vae=vae,
        scaling=scaling,
        text=text,
        sampling=sampling,
        fingerprint=folder.fingerprint(*PARTS, settings=()),
    )
    denoiser = PixArtDenoiser(model=model, family=family, parts=parts)
    if outside is not None:
        denoiser.facts = outside.send_out(denoiser.facts)
    return denoiser


def _text(folder: ModelFolder, tokens_max: int, dtype: torch.dtype, device: torch.device) -> T5Text:
    # Without a vocabulary transformers would make up an empty one.
    folder.require_file("tokenizer", *VOCABULARY_FILES)
    with as_folder_error(folder, "tokenizer"), folder.readable("tokenizer") as readable:
        tokenizer = T5Tokenizer.from_pretrained(readable, subfolder="tokenizer", local_files_only=True)
    encoder = text_encoder_on_demand(T5EncoderModel, folder, "text_encoder", dtype=dtype, device=device)
    known, used = encoder.outline.config.vocab_size, len(tokenizer)
    if used > known:
        raise ModelFolderError(f"model: the tokenizer in {folder.path} has {used} tokens, its encoder {known}")
    return T5Text(
        tokenizer=tokenizer,
        encoder=encoder,
        # A tokenizer without a limit of its own claims 1e30.
        token_limit=int(min(tokenizer.model_max_length, tokens_max)),
    )
