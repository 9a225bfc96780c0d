"""Operators that count what they compute, and disturb one layer where a test says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyrhythm.ids import LayerId
from polyrhythm_agent.ports.operators import AttentionProducts, ConvolutionProduct, LinearProduct


class CountingOperators:
    """Torch's products.

    Attributes:
        kinds: by layer, the function of torch that computes it; of all layers that were put in these hands.
        calls: by layer, how often it was computed.
        disturbed: whose result is wrong; None for nobody's.
    """

    def __init__(self) -> None:
        self.kinds: dict[LayerId, str] = {}
        self.calls: Counter[LayerId] = Counter()
        self.disturbed: LayerId | None = None

    def linear(self, layer: LayerId, linear: nn.Linear) -> LinearProduct:
        return self._counted(layer, F.linear)

    def convolution(self, layer: LayerId, convolution: nn.Conv2d) -> ConvolutionProduct:
        return self._counted(layer, F.conv2d)

    def attention(self, layer: LayerId) -> AttentionProducts:
        return self._counted(layer, F.scaled_dot_product_attention)

    @property
    def calls_of_kinds(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for layer, count in self.calls.items():
            total[self.kinds[layer]] += count
        return total

    def _counted(self, layer: LayerId, plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
        assert layer not in self.kinds, f"{layer} is asked for twice"
        self.kinds[layer] = plain.__name__

        def product(*operands: Any) -> Tensor:
            self.calls[layer] += 1
            result = plain(*operands)
            if layer != self.disturbed:
                return result
            # Not all by the same factor, which the next normalisation would take out again.
            return result * torch.linspace(0.5, 1.5, result.shape[-1], dtype=result.dtype)

        return product
