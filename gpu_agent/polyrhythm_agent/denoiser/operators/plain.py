"""Operators that compute what torch computes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from polyrhythm.ids import LayerId
from polyrhythm_agent.ports.operators import AttentionProducts, ConvolutionProduct, LinearProduct


class PlainOperators:
    """``Operators`` that are torch's own, for every layer the same, so that a layer costs no call more than there."""

    def linear(self, layer: LayerId, linear: nn.Linear) -> LinearProduct:
        """Torch's."""
        del layer, linear
        return F.linear

    def convolution(self, layer: LayerId, convolution: nn.Conv2d) -> ConvolutionProduct:
        """Torch's."""
        del layer, convolution
        return F.conv2d

    def attention(self, layer: LayerId) -> AttentionProducts:
        """Torch's."""
        del layer
        return F.scaled_dot_product_attention


PLAIN = PlainOperators()
