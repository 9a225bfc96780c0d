"""Attention over a patch of rows: image keys and values through the exchange, text keys and values computed once.

Owns the attention processors that are set on diffusers' ``Attention`` modules and what they do between products, which
is what its own ``AttnProcessor2_0`` does. Must not know which rows exist or who holds them.

Shape letters: B batch, h heads, N image tokens of the patch, A all image tokens, L text tokens, D width, d width of a
head, K the pair (key, value).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from polyrhythm.ids import LayerId
from polyrhythm_agent.denoiser.operators.install import PRODUCTS
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.ports.exchange import ActivationExchange


@dataclass(frozen=True, slots=True, kw_only=True)
class TextAttention:
    """The text as one layer of cross attention sees it.

    Attributes:
        key_BhLd: keys, cut into heads.
        value_BhLd: values, cut into heads.
        bias_Bh1L: added to the scores: 0 for a token that counts, -10000 for padding; None where all count.
    """

    key_BhLd: Tensor
    value_BhLd: Tensor
    bias_Bh1L: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchContext:
    """What one forward's attention needs besides the tokens of its patch.

    Attributes:
        exchange: other rows.
        text: of each cross-attention layer; empty for a model without a text.
    """

    exchange: ActivationExchange
    text: Mapping[LayerId, TextAttention]


class PatchSelfAttention:
    """Own rows attend to all rows of the picture."""

    def __init__(self, layer: LayerId, products: nn.Module) -> None:
        self._layer = layer
        self._products = products

    def __call__(self, attn: Attention, hidden_states: Tensor, *, patch: PatchContext, **_unused: Any) -> Tensor:
        """Publishes the own keys and values and attends to those of all rows.

        Args:
            attn: the module whose projections are used.
            hidden_states: ``(B, N, D)``.
            patch: handed down by ``cross_attention_kwargs``.

        Returns:
            ``(B, N, D)``.
        """
        query_BhNd = _heads(attn.to_q(hidden_states), attn)
        own_KBND = torch.stack(_keys_values(attn, hidden_states))
        key_BAD, value_BAD = patch.exchange.gather(self._layer, own_KBND)
        return _projected(attn, self._products(query_BhNd, _heads(key_BAD, attn), _heads(value_BAD, attn)))


class CachedCrossAttention:
    """Own rows attend to the text, whose keys and values are the same in every step."""

    def __init__(self, layer: LayerId, products: nn.Module) -> None:
        self._layer = layer
        self._products = products

    def __call__(self, attn: Attention, hidden_states: Tensor, *, patch: PatchContext, **_unused: Any) -> Tensor:
        """Attends to the text; arguments and result as for self attention."""
        text = patch.text[self._layer]
        query_BhNd = _heads(attn.to_q(hidden_states), attn)
        return _projected(attn, self._products(query_BhNd, text.key_BhLd, text.value_BhLd, text.bias_Bh1L))


def project_text(attn: Attention, text_BLD: Tensor, mask_BL: Tensor | None) -> TextAttention:
    """Keys and values of the text for one layer, kept for a whole picture; without a mask all tokens count."""
    key_BLD, value_BLD = _keys_values(attn, text_BLD)
    bias_Bh1L = None
    if mask_BL is not None:
        batch, length, _ = text_BLD.shape
        bias_B1L = ((1 - mask_BL.to(text_BLD.dtype)) * -10000.0).unsqueeze(1)
        bias_Bh1L = attn.prepare_attention_mask(bias_B1L, length, batch).view(batch, attn.heads, 1, length)
    return TextAttention(key_BhLd=_heads(key_BLD, attn), value_BhLd=_heads(value_BLD, attn), bias_Bh1L=bias_Bh1L)


def set_patch_processors(block: LayerId, self_attention: Attention, cross_attention: Attention | None) -> None:
    """Makes the attentions of one block run over patches; a model without a text has no cross attention.

    Args:
        block: of diffusers' basic transformers.
        self_attention: its ``attn1``.
        cross_attention: its ``attn2``.

    Raises:
        ModelFolderError: an attention does something between its projections that the processors here leave out.
    """
    set_self_attention(self_attention_of(block), self_attention)
    if cross_attention is not None:
        set_cross_attention(cross_attention_of(block), cross_attention)


def self_attention_of(block: LayerId) -> LayerId:
    """Of a block of diffusers' basic transformers."""
    return LayerId(f"{block}.attn1")


def cross_attention_of(block: LayerId) -> LayerId:
    """Of a block of diffusers' basic transformers."""
    return LayerId(f"{block}.attn2")


def set_self_attention(layer: LayerId, attn: Attention) -> None:
    """Makes a self attention run over patches, as an exchanging layer.

    Raises:
        ModelFolderError: it does something between its projections that the processor leaves out.
    """
    _check_plain(layer, attn)
    attn.set_processor(PatchSelfAttention(layer, attn.get_submodule(PRODUCTS)))


def set_cross_attention(layer: LayerId, attn: Attention) -> None:
    """Makes an attention read the text's cached keys and values.

    Raises:
        ModelFolderError: it does something between its projections that the processor leaves out.
    """
    _check_plain(layer, attn)
    attn.set_processor(CachedCrossAttention(layer, attn.get_submodule(PRODUCTS)))


def _check_plain(layer: LayerId, attn: Attention) -> None:
    additions = (attn.spatial_norm, attn.group_norm, attn.norm_q, attn.norm_k, attn.norm_cross)
    if any(additions) or attn.residual_connection or attn.rescale_output_factor != 1.0 or attn.dropout:
        raise ModelFolderError(f"denoiser: {layer} has parts that are not known")


def _keys_values(attn: Attention, source_BND: Tensor) -> tuple[Tensor, Tensor]:
    assert attn.to_k is not None  # diffusers leaves these out only in attention with added keys
    assert attn.to_v is not None
    return attn.to_k(source_BND), attn.to_v(source_BND)


def _heads(features_BND: Tensor, attn: Attention) -> Tensor:
    batch, tokens, width = features_BND.shape
    return features_BND.view(batch, tokens, attn.heads, width // attn.heads).transpose(1, 2)


def _projected(attn: Attention, mixed_BhNd: Tensor) -> Tensor:
    assert attn.to_out is not None
    return attn.to_out[0](mixed_BhNd.transpose(1, 2).flatten(2))
