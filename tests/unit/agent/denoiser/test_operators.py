"""Which layers of a network operators are installed for, and which networks are refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from polyrhythm_agent.denoiser.operators.install import install_operators
from polyrhythm_agent.denoiser.operators.layers import OperatorAttention, OperatorConv2d, OperatorLinear
from polyrhythm_agent.denoiser.operators.plain import PLAIN
from polyrhythm_agent.errors import ModelFolderError
from tests.fakes.operators import CountingOperators


class Network(nn.Module):
    """One layer of each kind, and one that is in two places."""

    def __init__(self, extra: nn.Module | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4, bias=False)])
        self.conv = nn.Conv2d(2, 3, (3, 1), stride=(2, 1), padding=(1, 0), dilation=(1, 2))
        self.attention = OperatorAttention()
        self.again = self.blocks[0]
        self.norm = nn.LayerNorm(4)
        self.extra = extra

    def forward(self, input_BN4: Tensor) -> Tensor:
        hidden_BN4 = self.norm(self.again(self.blocks[1](self.blocks[0](input_BN4))))
        heads_BhNd = hidden_BN4.unsqueeze(1)
        mixed_BhNd = self.attention(heads_BhNd, heads_BhNd, heads_BhNd)
        return self.conv(torch.cat((mixed_BhNd, mixed_BhNd), dim=1))


def test_a_network_computes_the_same_through_plain_operators() -> None:
    network, input_BN4 = Network(), torch.randn(2, 5, 4)
    expected, parameters = network(input_BN4), dict(network.named_parameters())
    install_operators(network, PLAIN)
    assert torch.equal(network(input_BN4), expected)
    installed = dict(network.named_parameters())
    assert list(installed) == list(parameters)
    assert all(installed[name] is parameters[name] for name in parameters)


def test_each_layer_is_installed_once_by_its_path_wherever_else_it_is() -> None:
    network, operators = Network(), CountingOperators()
    install_operators(network, operators)
    assert operators.kinds == {
        "blocks.0": "linear",
        "blocks.1": "linear",
        "conv": "conv2d",
        "attention": "scaled_dot_product_attention",
    }
    assert network.again is network.blocks[0]
    assert isinstance(network.again, OperatorLinear)
    assert isinstance(network.conv, OperatorConv2d)
    network(torch.randn(2, 5, 4))
    assert operators.calls == {"blocks.0": 2, "blocks.1": 1, "conv": 1, "attention": 1}


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv1d(1, 1, 1),
        nn.ConvTranspose2d(1, 1, 1),
        nn.MultiheadAttention(4, 1),
        nn.GRU(1, 1),
        nn.Conv2d(1, 1, 1, padding_mode="circular"),
        nn.Conv2d(1, 1, 1, padding="same"),
    ],
    ids=lambda module: type(module).__name__,
)
def test_products_that_no_operator_computes_are_refused(module: nn.Module) -> None:
    with pytest.raises(ModelFolderError, match=rf"extra \({type(module).__name__}\) is computed by no operator"):
        install_operators(Network(module), PLAIN)
