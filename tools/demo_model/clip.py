"""The UNet's text side: a CLIP tokenizer built from the captions and a small CLIP text encoder.

Owns the vocabulary and the encoder's shape; ``clip_training`` owns the encoder's training.
"""

from __future__ import annotations

import string
from collections import Counter
from functools import cache
from itertools import pairwise

from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from demo_model.text import all_captions

LENGTH = 32
"""Tokens of every prompt, start, end and padding included."""

WIDTH = 128
END_OF_WORD = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"
CHARACTERS = string.ascii_lowercase + string.digits + "-,.'!?"


def new_clip_tokenizer() -> CLIPTokenizer:
    """A byte pair encoding whose merges build each of the captions' words; other words fall into their letters.

    Upper case is folded. Start and end have the two last ids, as in CLIP; the end also pads.
    """
    vocabulary, merges = _byte_pairs()
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


@cache
def _byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids of the tokens, and the merges in order.

    By hand after Sennrich et al. 2016, algorithm 1: the trainer of the tokenizers library breaks ties by chance, and an
    encoder is worthless with the ids of another vocabulary. Here the pair that is first in the alphabet wins.
    """
    counts = Counter(word for text in all_captions() for word in text.replace("-", " - ").split())
    words = {word: (*word[:-1], word[-1] + END_OF_WORD) for word in counts}
    merges: list[tuple[str, str]] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in words.items():
            for pair in pairwise(parts):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {word: _merged(parts, best) for word, parts in words.items()}
    tokens = [*CHARACTERS, *(c + END_OF_WORD for c in CHARACTERS), *map("".join, merges), START, END]
    # Two merges may spell the same token.
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}, merges


def _merged(parts: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)


def new_clip_encoder(vocabulary: int) -> CLIPTextModel:
    """An untrained CLIP text encoder of two layers, 128 wide."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            projection_dim=WIDTH,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )
