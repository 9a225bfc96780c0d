"""Attention as plain matrix products, for training on a CPU.

Owns nothing but this arithmetic. Torch's fused attention needs three to four times as long for the backward pass over a
few hundred tokens on a CPU; the exported model is the same either way, since a processor has no weights.

Shape legend: B pictures, N queries, L keys, D channels, H heads, K channels of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class MatrixProductAttention:
    """A diffusers attention processor for the layers that PixArt has: no group norm, no residual, dropout 0."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_unused: Any,
    ) -> Tensor:
        """Attend from ``hidden_states`` ``[B, N, D]`` to itself or to ``encoder_hidden_states`` ``[B, L, D]``.

        ``attn`` is diffusers' attention layer (Any, because it declares its projections as optional);
        ``attention_mask`` is a bias ``[B, 1, L]``: 0 to keep, very negative to leave out.
        """
        source_BLD = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        batch, heads = len(hidden_states), attn.heads
        query, key, value = (
            layer(x).unflatten(-1, (heads, -1)).transpose(1, 2).flatten(0, 1)
            for layer, x in ((attn.to_q, hidden_states), (attn.to_k, source_BLD), (attn.to_v, source_BLD))
        )
        # Without autocast the softmax stays in bfloat16, too: twice as fast, and its inputs are no finer anyway.
        with torch.autocast("cpu", enabled=False):
            bias = query.new_zeros(1, 1, 1)
            if attention_mask is not None:
                bias = attention_mask.to(query.dtype).repeat_interleave(heads, dim=0)
            scores = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=attn.scale)
            mixed = torch.bmm(scores.softmax(dim=-1), value)
        merged_BND = mixed.unflatten(0, (batch, heads)).transpose(1, 2).flatten(2)
        return attn.to_out[0](merged_BND)
