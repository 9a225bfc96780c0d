"""Loads a PixArt pipeline folder part by part, through diffusers and transformers.

Owns which part is read how. Parts are loaded one by one because a pipeline loaded whole prints, guesses the scale of an
absent autoencoder, and passes over weights that are missing in a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import AutoencoderKL, PixArtTransformer2DModel
from safetensors import SafetensorError
from transformers import T5EncoderModel, T5Tokenizer
from transformers.utils import logging as transformers_logging

from polyrhythm_agent.denoiser.folder import ModelFolder
from polyrhythm_agent.denoiser.pixart import PixArtDenoiser, PixArtParts
from polyrhythm_agent.denoiser.sampling import ModelSampling
from polyrhythm_agent.denoiser.text import T5Text
from polyrhythm_agent.errors import ModelFolderError

TOKEN_LIMIT_MAX = 120
"""What PixArt-alpha was trained with (Chen et al. 2023, section 3.1); a tokenizer may ask for less."""

VOCABULARY_FILES = ("tokenizer.json", "spiece.model")


def load_pixart(folder: ModelFolder, *, model: str, dtype: torch.dtype, device: torch.device) -> PixArtDenoiser:
    """Loads transformer, autoencoder, text encoder and tokenizer.

    Raises:
        ModelFolderError: a part is missing, incomplete, or asks for something that this project does not have.
    """
    sampling = ModelSampling(folder.config_of("scheduler", "scheduler_config.json"))
    folder.require_safetensors("transformer", "vae", "text_encoder")
    transformer = _diffusers_part(PixArtTransformer2DModel, folder, "transformer", dtype)
    vae = _diffusers_part(AutoencoderKL, folder, "vae", dtype)
    parts = PixArtParts(
        transformer=transformer.to(device).eval(),
        vae=vae.to(device).eval(),
        text=_text(folder, dtype, device),
        sampling=sampling,
        fingerprint=folder.fingerprint(),
    )
    return PixArtDenoiser(model=model, parts=parts)


def _diffusers_part(kind: Any, folder: ModelFolder, part: str, dtype: torch.dtype) -> Any:
    with _as_folder_error(folder, part):
        module, info = kind.from_pretrained(
            folder.path,
            subfolder=part,
            torch_dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    _require_complete(folder, part, info)
    return module


def _text(folder: ModelFolder, dtype: torch.dtype, device: torch.device) -> T5Text:
    # Without a vocabulary transformers would make up an empty one.
    folder.require_file("tokenizer", *VOCABULARY_FILES)
    with _as_folder_error(folder, "tokenizer"):
        tokenizer = T5Tokenizer.from_pretrained(folder.path, subfolder="tokenizer", local_files_only=True)
    with _as_folder_error(folder, "text_encoder"), _without_progress_bar():
        loaded: Any = T5EncoderModel.from_pretrained(
            folder.path,
            subfolder="text_encoder",
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    encoder, info = loaded
    _require_complete(folder, "text_encoder", info)
    known, used = encoder.config.vocab_size, len(tokenizer)
    if used > known:
        raise ModelFolderError(f"model: the tokenizer in {folder.path} has {used} tokens, its encoder {known}")
    return T5Text(
        tokenizer=tokenizer,
        encoder=encoder.to(device).eval(),
        # A tokenizer without a limit of its own claims 1e30.
        token_limit=int(min(tokenizer.model_max_length, TOKEN_LIMIT_MAX)),
    )


def _require_complete(folder: ModelFolder, part: str, info: dict[str, Any]) -> None:
    """Missing weights would stay random, and diffusers only warns."""
    for problem in ("missing_keys", "mismatched_keys", "error_msgs"):
        if info.get(problem):
            first = min(map(str, info[problem]))
            raise ModelFolderError(f"model: {folder.path / part} does not fit its config: {problem} such as {first}")


@contextmanager
def _as_folder_error(folder: ModelFolder, part: str) -> Iterator[None]:
    """Translates what the two libraries raise for missing, torn or contradictory files."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, NotImplementedError, SafetensorError) as error:
        raise ModelFolderError(f"model: {folder.path / part} cannot be loaded: {error}") from error


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    """Transformers draws a bar for every file; it would end up in a worker's log."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
