"""The captions of the demo models, and PixArt's text side: a T5 tokenizer built from them and a small T5 encoder.

Owns that vocabulary, the encoder's shape and the look-up of captions; ``text_training`` owns the encoder's training.
"""

from __future__ import annotations

import io
import math
import string
from collections import Counter

import sentencepiece
import torch
from sentencepiece import sentencepiece_model_pb2
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from demo_model.data import COLOURS, NAMES, caption

MAX_TOKENS = 24
WIDTH = 128
UNKNOWN_PENALTY = 8.0
"""How much less likely (in nats) a letter is than the rarest word: letters spell only what no word covers."""


def all_captions() -> list[str]:
    """The caption of every pair, held-out ones included: the tokenizer must know all words."""
    return [caption(name, colour) for name in range(len(NAMES)) for colour in range(len(COLOURS))]


def new_tokenizer() -> T5Tokenizer:
    """A unigram tokenizer: the captions' words with their log frequencies, and single characters for any other word.

    Upper case is folded. Ids 0, 1 and 2 are padding, end and unknown, as in every T5 vocabulary.
    """
    counts = Counter(f"▁{word}" for text in all_captions() for word in text.split())
    total = sum(counts.values())
    words = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    scores = [(word, math.log(count / total)) for word, count in words]
    letter_score = scores[-1][1] - UNKNOWN_PENALTY
    characters = "▁" + string.ascii_lowercase + string.digits + "-,.'!?"
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(
        vocab=special + scores + [(c, letter_score) for c in characters if c not in counts],
        extra_ids=0,
        model_max_length=120,
        _spm_precompiled_charsmap=_case_folding(),
    )


def _case_folding() -> bytes:
    """Sentencepiece's table for NFKC with case folding.

    It is the one normalisation that transformers keeps when it loads a T5 tokenizer from a folder, and sentencepiece
    hands it out only inside a trained model; that model is thrown away.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(all_captions()),
        model_writer=model,
        vocab_size=200,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc_cf",
        minloglevel=2,
    )
    return sentencepiece_model_pb2.ModelProto.FromString(model.getvalue()).normalizer_spec.precompiled_charsmap


def new_text_encoder(vocabulary: int) -> T5EncoderModel:
    """An untrained T5 encoder (gated GELU, as in T5 v1.1) of two layers, 128 wide."""
    return T5EncoderModel(
        T5Config(
            vocab_size=vocabulary,
            d_model=WIDTH,
            d_kv=32,
            d_ff=256,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
            eos_token_id=1,
        )
    )


class TokenTable:
    """Every caption's tokens, looked up by (name, colour) so that no step waits for the tokenizer."""

    def __init__(self, tokenizer: T5Tokenizer | CLIPTokenizer, *, length: int, padding_counts: bool) -> None:
        """Tokenize all captions, and the empty one that stands for no condition.

        Args:
            tokenizer: Of the text encoder.
            length: To which captions are padded.
            padding_counts: Whether padding is a part of the caption, as in Stable Diffusion, or is left out.
        """
        encoded = tokenizer(
            [*all_captions(), ""], padding="max_length", max_length=length, truncation=False, return_tensors="pt"
        )
        self._ids_NL: Tensor = encoded.input_ids
        mask_NL: Tensor = encoded.attention_mask
        self._mask_NL = torch.ones_like(mask_NL) if padding_counts else mask_NL

    def look_up(self, names_B: Tensor, colours_B: Tensor, dropped_B: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids and mask, ``[B, L]`` each, cut to the longest; where ``dropped_B``, those of the empty caption."""
        row_B = torch.where(dropped_B, len(self._ids_NL) - 1, names_B * len(COLOURS) + colours_B)
        mask_BL = self._mask_NL[row_B]
        longest = int(mask_BL.sum(dim=1).max())
        return self._ids_NL[row_B, :longest], mask_BL[:, :longest]


class CaptionTable:
    """Every caption's text states, computed once by an encoder that does not change any more."""

    @torch.no_grad()
    def __init__(self, encoder: T5EncoderModel | CLIPTextModel, tokens: TokenTable) -> None:
        """Encode all captions, and the empty one."""
        rows = torch.arange(len(NAMES) * len(COLOURS) + 1)
        names_N, colours_N = rows // len(COLOURS), rows % len(COLOURS)
        ids_NL, self._mask_NL = tokens.look_up(names_N, colours_N, rows == len(rows) - 1)
        parts = zip(ids_NL.split(256), self._mask_NL.split(256), strict=True)
        self._text_NLD = torch.cat([encoder(ids_BL, attention_mask=mask_BL)[0] for ids_BL, mask_BL in parts])

    def look_up(self, names_B: Tensor, colours_B: Tensor, dropped_B: Tensor) -> tuple[Tensor, Tensor]:
        """Text states ``[B, L, D]`` and mask ``[B, L]``; where ``dropped_B``, those of the empty caption."""
        row_B = torch.where(dropped_B, len(self._text_NLD) - 1, names_B * len(COLOURS) + colours_B)
        return self._text_NLD[row_B], self._mask_NL[row_B]
