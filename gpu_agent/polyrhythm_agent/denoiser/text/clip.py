"""Prompts to embeddings with one or two CLIP encoders, as diffusers' Stable Diffusion and SDXL pipelines do it.

Owns tokenisation, its limit, and which hidden layer is taken. Must not know what the embeddings are for.

Shape letters: L tokens, T width of all embeddings of a token, Q width of a pooled text.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from polyrhythm_agent.denoiser.on_demand import OnDemand
from polyrhythm_agent.denoiser.text.memory import text_working_bytes
from polyrhythm_agent.denoiser.text.t5 import cut_text, refuse_long_texts

SPLIT_WORD_TOKENS = 8
"""A word of so many tokens is split between two windows: to leave their room empty would cost more."""
LEAST_TOKEN_LIMIT = 3
"""Room for one token between the marks."""
SDXL_HIDDEN = -2
"""SDXL reads the layer before the last (Podell et al. 2023), Stable Diffusion 1 the last one, normalised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipEncoder:
    """A tokenizer with its encoder."""

    tokenizer: CLIPTokenizer
    encoder: OnDemand[CLIPTextModel | CLIPTextModelWithProjection]

    @property
    def width(self) -> int:
        """Features of one token."""
        return int(self.encoder.outline.config.hidden_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipText:
    """The text encoders of a pipeline.

    Attributes:
        encoders: one (Stable Diffusion 1) or two, the second with a projection (SDXL).
        pooled: whether the pooled text of the last encoder is wanted; then hidden layers are those of SDXL.
        zero_when_empty: whether an empty negative prompt is all zeros instead of an encoded empty text.
        masked: whether no token attends to padding.
    """

    encoders: tuple[ClipEncoder, ...]
    pooled: bool = False
    zero_when_empty: bool = False
    masked: bool = False
    _tokenizing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    """A tokenizer keeps how it pads as state; prompts are counted on another thread than they are encoded on."""

    @property
    def token_limit(self) -> int:
        """Longest text, marks at both ends included; all texts are padded to it."""
        return min(int(part.tokenizer.model_max_length) for part in self.encoders)

    @property
    def width(self) -> int:
        """T."""
        return sum(part.width for part in self.encoders)

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

    def cut(self, text: str) -> tuple[int, str]:
        """Tokens that are left of a text where its end is cut off, and what is cut off."""
        with self._tokenizing:
            return max(cut_text(part.tokenizer, text, self.token_limit) for part in self.encoders)

    def count_windows(self, text: str) -> int:
        """Windows that a text takes where it is chunked; those of the tokenizer that needs more."""
        with self._tokenizing:
            return max(len(text_windows(part.tokenizer, text, self.token_limit)) for part in self.encoders)

    def check_length(self, **texts: str) -> None:
        """Checks that nothing would be cut off.

        Raises:
            InvalidArgumentError: names each text that is too long.
        """
        refuse_long_texts({name: self.count_tokens(text) for name, text in texts.items()}, self.token_limit)

    @torch.inference_mode()
    def encode(self, text: str, *, negative: bool = False) -> tuple[Tensor, Tensor]:
        """Embeddings ``(1, L, T)`` and pooled text ``(1, Q)`` of one text; what is beyond the limit is cut off.

        One text a forward, as the pipelines do it: a batch could round differently.
        """
        with self._tokenizing:
            padded = [
                part.tokenizer(
                    text, padding="max_length", max_length=self.token_limit, truncation=True, return_tensors="pt"
                )
                for part in self.encoders
            ]
        text_1LT, pooled_1Q = self._encode([(each.input_ids, each.attention_mask) for each in padded])
        if negative and self.zero_when_empty and not text:
            return torch.zeros_like(text_1LT), torch.zeros_like(pooled_1Q)
        return text_1LT, pooled_1Q

    @torch.inference_mode()
    def encode_windows(self, text: str, windows: int, *, negative: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """As ``encode``, of a whole text: its windows one after the other, with the pooled text of the first one.

        Args:
            text: to encode.
            windows: to fill: 1 cuts the text, more are at least as many as it takes. Zeros and a mask stand for those
                that are not filled, so that a short text beside a long one is attended to as if it stood alone.
            negative: whether it is the negative prompt.

        Returns:
            Embeddings ``(1, L, T)``, pooled text ``(1, Q)`` and mask ``(1, L)`` int64.
        """
        if windows == 1 or self.count_windows(text) == 1:
            parts = [self.encode(text, negative=negative)]
        else:
            parts = [self._encode([window.tensors() for window in found]) for found in self._windows(text)]
        filled_1LT, pooled_1Q = torch.cat([tokens for tokens, _ in parts], dim=1), parts[0][1]
        text_1LT = filled_1LT.new_zeros(1, windows * self.token_limit, filled_1LT.shape[-1])
        mask_1L = torch.zeros(text_1LT.shape[:2], dtype=torch.int64, device=text_1LT.device)
        text_1LT[:, : filled_1LT.shape[1]], mask_1L[:, : filled_1LT.shape[1]] = filled_1LT, 1
        return text_1LT, pooled_1Q, mask_1L

    def _windows(self, text: str) -> list[tuple[TextWindow, ...]]:
        """Each window for each encoder; a tokenizer that needs fewer has empty ones at the end."""
        with self._tokenizing:
            each = [text_windows(part.tokenizer, text, self.token_limit) for part in self.encoders]
            empty = [text_windows(part.tokenizer, "", self.token_limit) for part in self.encoders]
        count = max(map(len, each))
        filled = (found + none * (count - len(found)) for found, none in zip(each, empty, strict=True))
        return list(zip(*filled, strict=True))

    def _encode(self, window: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """One window, by its token ids and its mask, both ``(1, L)``, for each encoder."""
        tokens_LT: list[Tensor] = []
        pooled_1Q = torch.empty(1, 0)
        for part, (ids_1L, mask_1L) in zip(self.encoders, window, strict=True):
            encoder = part.encoder.module()
            output = encoder(
                ids_1L.to(encoder.device),
                attention_mask=mask_1L.to(encoder.device) if self.masked else None,
                output_hidden_states=self.pooled,
            )
            if self.pooled:
                tokens_LT.append(output.hidden_states[SDXL_HIDDEN])
                pooled_1Q = output[0] if output[0].ndim == 2 else pooled_1Q
            else:
                tokens_LT.append(output[0])
        text_1LT = torch.cat(tokens_LT, dim=-1)
        return text_1LT, pooled_1Q.to(text_1LT.device, text_1LT.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextWindow:
    """So much of a text as an encoder reads at once.

    Attributes:
        ids: of its tokens, with marks at both ends and padding behind them.
        filled: tokens that are no padding.
    """

    ids: tuple[int, ...]
    filled: int

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Token ids and mask ``(1, L)`` int64, the latter 0 for padding, as a tokenizer returns them."""
        ids_1L = torch.tensor([self.ids])
        mask_1L = (torch.arange(len(self.ids)) < self.filled)[None].to(torch.int64)
        return ids_1L, mask_1L


def text_windows(tokenizer: CLIPTokenizer, text: str, token_limit: int) -> list[TextWindow]:
    """A text in windows of the limit's length.

    A word, which is what stands between spaces, goes into the next window as a whole where it does not fit; one of
    ``SPLIT_WORD_TOKENS`` or more, or of more than a window holds, is split where the window ends.

    Args:
        tokenizer: of the encoder.
        text: to encode, with brackets and all.
        token_limit: length of a window, marks included; at least 3.
    """
    vocabulary: Any = tokenizer  # its special tokens are typed as anything
    begin, end, padding = vocabulary.bos_token_id, vocabulary.eos_token_id, vocabulary.pad_token_id
    room = token_limit - 2
    windows: list[list[int]] = [[]]
    for word in text.split():
        ids = _token_ids(tokenizer, word)[1:-1]
        while len(windows[-1]) + len(ids) > room:
            split = len(ids) >= SPLIT_WORD_TOKENS or len(ids) > room
            taken = room - len(windows[-1]) if split else 0
            windows[-1] += ids[:taken]
            windows.append([])
            ids = ids[taken:]
        windows[-1] += ids
    return [TextWindow(ids=(begin, *ids, end, *[padding] * (room - len(ids))), filled=len(ids) + 2) for ids in windows]


def _token_ids(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    return tokenizer(text, truncation=False, verbose=False).input_ids
