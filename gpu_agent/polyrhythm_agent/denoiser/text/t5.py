"""Prompts to embeddings with a T5 encoder, as diffusers' PixArt pipelines do it without caption cleaning.

Owns tokenisation and its limit. Must not know what the embeddings are for.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, T5EncoderModel

from polyrhythm.errors import FieldViolation, InvalidArgumentError
from polyrhythm_agent.denoiser.on_demand import OnDemand
from polyrhythm_agent.denoiser.text.memory import text_working_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class T5Text:
    """A tokenizer with its encoder.

    Attributes:
        tokenizer: of the model.
        encoder: of the model.
        token_limit: longest text, end mark included; all texts are padded to it.
    """

    tokenizer: PreTrainedTokenizerBase
    encoder: OnDemand[T5EncoderModel]
    token_limit: int
    _tokenizing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    """A tokenizer keeps how it pads as state; prompts are counted on another thread than they are encoded on."""

    @property
    def width(self) -> int:
        """Features of one token."""
        return self.encoder.outline.config.d_model

    @property
    def working_bytes(self) -> int:
        """Of encoding one text."""
        outline = self.encoder.outline
        return text_working_bytes(outline.config, self.token_limit, outline.dtype)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, end mark included, without truncation."""
        with self._tokenizing:
            return len(self.tokenizer(_normalised(text), truncation=False, verbose=False).input_ids)

    def cut(self, text: str) -> tuple[int, str]:
        """Tokens that are left of a text where its end is cut off, and what is cut off."""
        with self._tokenizing:
            return cut_text(self.tokenizer, _normalised(text), self.token_limit)

    def check_length(self, **texts: str) -> None:
        """Checks that nothing would be cut off.

        Raises:
            InvalidArgumentError: names each text that is too long.
        """
        refuse_long_texts({name: self.count_tokens(text) for name, text in texts.items()}, self.token_limit)

    @torch.inference_mode()
    def encode(self, text: str) -> tuple[Tensor, Tensor]:
        """Embeddings ``(1, L, width)`` and mask ``(1, L)`` int64 of one text, on the encoder's device.

        What is beyond the limit is cut off. One text a forward, as the pipeline does it: a batch could round
        differently.
        """
        with self._tokenizing:
            padded = self.tokenizer(
                [_normalised(text)],
                padding="max_length",
                max_length=self.token_limit,
                truncation=True,
                return_tensors="pt",
            )
        encoder = self.encoder.module()
        tokens = padded.to(encoder.device)
        return encoder(tokens.input_ids, attention_mask=tokens.attention_mask)[0], tokens.attention_mask


def cut_text(tokenizer: PreTrainedTokenizerBase, text: str, token_limit: int) -> tuple[int, str]:
    """Tokens that are left of a text where its end is cut off, and what is cut off, as the tokenizer spells it."""
    ids = tokenizer(text, truncation=False, verbose=False).input_ids
    if len(ids) <= token_limit:
        return len(ids), ""
    return token_limit, str(tokenizer.decode(ids[token_limit - 1 :], skip_special_tokens=True)).strip()


def refuse_long_texts(token_counts: Mapping[str, int], token_limit: int) -> None:
    """Checks that no text would be cut off.

    Args:
        token_counts: tokens of each text, marks included, by the field that it came in.
        token_limit: longest text.

    Raises:
        InvalidArgumentError: names each field whose text is too long.
    """
    too_long = [
        FieldViolation(field=name, description=f"at most {token_limit} tokens, got {count}")
        for name, count in token_counts.items()
        if count > token_limit
    ]
    if too_long:
        raise InvalidArgumentError(*too_long)


def _normalised(text: str) -> str:
    return text.lower().strip()
