"""Gives every product of a denoiser to the operators that its model was loaded with.

Owns which modules compute products, and what they are called: by their paths among the model's modules before any is
wrapped.
"""

from __future__ import annotations

from diffusers.models.attention_processor import Attention
from torch import nn

from polyrhythm.ids import LayerId
from polyrhythm_agent.denoiser.operators.layers import OperatorAttention, OperatorConv2d, OperatorLinear
from polyrhythm_agent.errors import ModelFolderError
from polyrhythm_agent.ports.operators import AttentionProducts, ConvolutionProduct, LinearProduct, Operators

PRODUCTS = "products"
"""The child that an attention of diffusers gets, for what it computes between its projections."""

WITHOUT_OPERATOR = (
    nn.Conv1d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Bilinear,
    nn.MultiheadAttention,
    nn.RNNBase,
)
"""Modules of torch whose products no operator computes."""


def install_operators(network: nn.Module, operators: Operators) -> None:
    """Puts layers of operators in the places of a network's linear layers, convolutions and attention products.

    Once, with all weights loaded and before anything of it is wrapped.

    Args:
        network: of the denoiser; autoencoder and text encoders are no part of it.
        operators: that the model is loaded with.

    Raises:
        ModelFolderError: it computes products that no operator does.
    """
    made: dict[nn.Module, nn.Module] = {}
    for name, module in tuple(network.named_modules(remove_duplicate=False)):
        _require_operator(name, module)
        if module not in made and (replacement := _replacement(LayerId(name), module, operators)) is not None:
            made[module] = replacement
        if module in made:
            network.set_submodule(name, made[module])


def _replacement(layer: LayerId, module: nn.Module, operators: Operators) -> nn.Module | None:
    """What takes the place of a module, itself perhaps; None where it computes no products."""
    match module:
        case nn.Linear():
            return OperatorLinear(module, operators.linear(layer, module))
        case nn.Conv2d():
            return OperatorConv2d(module, operators.convolution(layer, module))
        case OperatorAttention():
            module.products = operators.attention(layer)
            return module
        case Attention():
            products = operators.attention(LayerId(f"{layer}.{PRODUCTS}"))
            module.add_module(PRODUCTS, OperatorAttention(products))
            return module
        case _:
            return None


def _require_operator(name: str, module: nn.Module) -> None:
    padded = isinstance(module, nn.Conv2d) and (module.padding_mode != "zeros" or isinstance(module.padding, str))
    if padded or isinstance(module, WITHOUT_OPERATOR):
        raise ModelFolderError(f"denoiser: {name} ({type(module).__name__}) is computed by no operator")


class AskedOperators:
    """``Operators`` of a model that is being loaded; notes which layers its family has put in their hands."""

    def __init__(self, operators: Operators) -> None:
        self._operators = operators
        self.layers: list[LayerId] = []

    def linear(self, layer: LayerId, linear: nn.Linear) -> LinearProduct:
        """As the operators do."""
        self.layers.append(layer)
        return self._operators.linear(layer, linear)

    def convolution(self, layer: LayerId, convolution: nn.Conv2d) -> ConvolutionProduct:
        """As the operators do."""
        self.layers.append(layer)
        return self._operators.convolution(layer, convolution)

    def attention(self, layer: LayerId) -> AttentionProducts:
        """As the operators do."""
        self.layers.append(layer)
        return self._operators.attention(layer)
