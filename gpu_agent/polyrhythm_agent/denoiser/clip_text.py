"""Prompts to embeddings with one or two CLIP encoders, as diffusers' Stable Diffusion and SDXL pipelines do it.

Owns tokenisation, its limit, and which hidden layer is taken. Must not know what the embeddings are for.

Shape letters: L tokens, T width of all embeddings of a token, Q width of a pooled text.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from polyrhythm_agent.denoiser.on_demand import OnDemand
from polyrhythm_agent.denoiser.text import refuse_long_texts
from polyrhythm_agent.denoiser.text_memory import text_working_bytes

SDXL_HIDDEN = -2
"""SDXL reads the layer before the last (Podell et al. 2023), Stable Diffusion 1 the last one, normalised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipEncoder:
    """A tokenizer with its encoder."""

    tokenizer: CLIPTokenizer
    encoder: OnDemand[CLIPTextModel | CLIPTextModelWithProjection]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipText:
    """The text encoders of a pipeline.

    Attributes:
        encoders: one (Stable Diffusion 1) or two, the second with a projection (SDXL).
        pooled: whether the pooled text of the last encoder is wanted; then hidden layers are those of SDXL.
        zero_when_empty: whether an empty negative prompt is all zeros instead of an encoded empty text.
    """

    encoders: tuple[ClipEncoder, ...]
    pooled: bool = False
    zero_when_empty: bool = False
    _tokenizing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    """A tokenizer keeps how it pads as state; prompts are counted on another thread than they are encoded on."""

    @property
    def token_limit(self) -> int:
        """Longest text, marks at both ends included; all texts are padded to it."""
        return min(int(part.tokenizer.model_max_length) for part in self.encoders)

    @property
    def width(self) -> int:
        """T."""
        return sum(part.encoder.outline.config.hidden_size for part in self.encoders)

    @property
    def pooled_width(self) -> int:
        """Q; 0 where no pooled text is wanted."""
        return int(self.encoders[-1].encoder.outline.config.projection_dim) if self.pooled else 0

    @property
    def working_bytes(self) -> int:
        """Of encoding one text: one encoder after the other."""
        outlines = [part.encoder.outline for part in self.encoders]
        return max(
            text_working_bytes(outline.config, self.token_limit, outline.dtype, layers_kept=self.pooled)
            for outline in outlines
        )

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, marks at both ends included, without truncation; the larger count of two tokenizers."""
        with self._tokenizing:
            return max(len(_token_ids(part.tokenizer, text)) for part in self.encoders)

    def check_length(self, **texts: str) -> None:
        """Checks that nothing would be cut off.

        Raises:
            InvalidArgumentError: names each text that is too long.
        """
        refuse_long_texts({name: self.count_tokens(text) for name, text in texts.items()}, self.token_limit)

    @torch.inference_mode()
    def encode(self, text: str, *, negative: bool = False) -> tuple[Tensor, Tensor]:
        """Embeddings ``(1, L, T)`` and pooled text ``(1, Q)`` of one text.

        One text a forward, as the pipelines do it: a batch could round differently.
        """
        tokens_LT: list[Tensor] = []
        pooled_1Q = torch.empty(1, 0)
        for part in self.encoders:
            output = self._forward(part, text)
            if self.pooled:
                tokens_LT.append(output.hidden_states[SDXL_HIDDEN])
                pooled_1Q = output[0] if output[0].ndim == 2 else pooled_1Q
            else:
                tokens_LT.append(output[0])
        text_1LT = torch.cat(tokens_LT, dim=-1)
        pooled_1Q = pooled_1Q.to(text_1LT.device, text_1LT.dtype)
        if negative and self.zero_when_empty and not text:
            return torch.zeros_like(text_1LT), torch.zeros_like(pooled_1Q)
        return text_1LT, pooled_1Q

    def _forward(self, part: ClipEncoder, text: str) -> Any:
        with self._tokenizing:
            padded = part.tokenizer(
                text, padding="max_length", max_length=self.token_limit, truncation=False, return_tensors="pt"
            )
        encoder = part.encoder.module()
        return encoder(padded.input_ids.to(encoder.device), output_hidden_states=self.pooled)


def _token_ids(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    return tokenizer(text, truncation=False, verbose=False).input_ids
