"""Layers whose product is computed by an operator. They take the places of torch's, and have their parameters.

Shape letters as in the port.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from polyrhythm_agent.ports.operators import AttentionProducts, ConvolutionProduct, LinearProduct


class OperatorLinear(nn.Linear):
    """A linear layer.

    Args:
        plain: whose place it takes.
        product: computes it.
    """

    def __init__(self, plain: nn.Linear, product: LinearProduct) -> None:
        super().__init__(plain.in_features, plain.out_features, plain.bias is not None, device="meta")
        self.weight, self.bias = plain.weight, plain.bias
        self.product = product

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in torch
        """``(N, I)`` to ``(N, O)``."""
        return self.product(input, self.weight, self.bias)


class OperatorConv2d(nn.Conv2d):
    """A convolution with zeros around its input; arguments as for a linear layer."""

    def __init__(self, plain: nn.Conv2d, product: ConvolutionProduct) -> None:
        super().__init__(
            plain.in_channels,
            plain.out_channels,
            plain.kernel_size,
            plain.stride,
            plain.padding,
            plain.dilation,
            plain.groups,
            plain.bias is not None,
            device="meta",
        )
        assert not isinstance(plain.padding, str)  # the installation refuses padding by name
        self.weight, self.bias = plain.weight, plain.bias
        self.product = product
        self._zeros = plain.padding

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in torch
        """``(B, C, H, W)`` to ``(B, O, H, W)``."""
        return self.convolved(input, self._zeros)

    def convolved(self, input_BCHW: Tensor, padding: tuple[int, ...]) -> Tensor:
        """The same with other padding, of an input that has some of its own."""
        return self.product(input_BCHW, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class OperatorAttention(nn.Module):
    """The products of one attention, as a module, so that they have a place in a model and an identity there."""

    def __init__(self, products: AttentionProducts = F.scaled_dot_product_attention) -> None:
        super().__init__()
        self.products = products

    def forward(
        self, query_BhNd: Tensor, key_BhAd: Tensor, value_BhAd: Tensor, bias_Bh1A: Tensor | None = None
    ) -> Tensor:
        """``(B, h, N, d)``; the bias is added to the scores of all queries."""
        return self.products(query_BhNd, key_BhAd, value_BhAd, bias_Bh1A)
