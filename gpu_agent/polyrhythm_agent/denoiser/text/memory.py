"""What encoding a text takes beside the encoder's weights. Owns the formula only."""

from __future__ import annotations

from typing import Any

import torch

FEED_FORWARD_KEPT = 3
"""Times that a text encoder holds the inner width of its feed-forward: gate, what it gates, and the product."""

DISTANCES_KEPT = 7
"""Times that T5 holds a number for each pair of tokens while it sorts their distances."""

SCORES_KEPT = 3
"""Times that a text encoder holds a number for each head and pair of tokens: bias, scores, and their softmax."""


def text_working_bytes(config: Any, tokens: int, dtype: torch.dtype, *, layers_kept: bool = False) -> int:
    """Working memory of encoding one text with a T5 or CLIP encoder.

    At the widest place of a block: residual, norm, and the feed-forward before and after its activation function, twice
    where it is gated; or queries, keys, values and result beside scores of all pairs of tokens. T5 first numbers the
    distance of each pair, in int64.

    Args:
        config: of the encoder.
        tokens: of the longest text.
        dtype: arithmetic of the encoder.
        layers_kept: whether all hidden layers are kept, for the one before the last.
    """
    width, heads = config.hidden_size, config.num_attention_heads
    inner = getattr(config, "d_ff", None) or config.intermediate_size
    kept = (config.num_hidden_layers + 1 if layers_kept else 1) * width
    feed_forward, attention = FEED_FORWARD_KEPT * inner + width, 5 * width + SCORES_KEPT * heads * tokens
    distances_bytes = DISTANCES_KEPT * tokens * torch.int64.itemsize if hasattr(config, "d_ff") else 0
    return tokens * max((kept + max(feed_forward, attention)) * dtype.itemsize, distances_bytes)
