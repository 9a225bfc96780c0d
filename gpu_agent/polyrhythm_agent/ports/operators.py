"""What computes the products of a denoiser: nearly all of its work, and all that is checked, quantised or disturbed.

Shape letters: N any leading axes, I O features in and out, B batch, C channels, H W height and width, h heads, N query
tokens, A key tokens, d width of a head.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from polyrhythm.ids import LayerId


class LinearProduct(Protocol):
    """The product of one linear layer."""

    def __call__(self, input_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None, /) -> Tensor:
        """``(N, O)``: as ``torch.nn.functional.linear``."""
        ...


class ConvolutionProduct(Protocol):
    """The product of one convolution over two axes."""

    def __call__(
        self,
        input_BCHW: Tensor,
        weight_OCHW: Tensor,
        bias_O: Tensor | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        dilation: tuple[int, ...],
        groups: int,
        /,
    ) -> Tensor:
        """``(B, O, H, W)``: as ``torch.nn.functional.conv2d``."""
        ...


class AttentionProducts(Protocol):
    """The two products of one attention, of queries with keys and of their softmax with values."""

    def __call__(
        self, query_BhNd: Tensor, key_BhAd: Tensor, value_BhAd: Tensor, bias_Bh1A: Tensor | None = None, /
    ) -> Tensor:
        """``(B, h, N, d)``: as ``torch.nn.functional.scaled_dot_product_attention``."""
        ...


class Operators(Protocol):
    """Chosen when a model is loaded: what computes each of its layers. Families do not know which.

    Each method is called once a layer, with the weights in memory, on whatever device they were loaded to; a set that
    quantises may replace the layer's parameters and sum what it checks against. What a method returns is called in
    every forward, on the thread that computes.
    """

    def linear(self, layer: LayerId, linear: nn.Linear) -> LinearProduct:
        """What computes a linear layer."""
        ...

    def convolution(self, layer: LayerId, convolution: nn.Conv2d) -> ConvolutionProduct:
        """What computes a convolution; a patch of rows comes with its rims, and then without padding of rows."""
        ...

    def attention(self, layer: LayerId) -> AttentionProducts:
        """What computes the products of an attention."""
        ...
