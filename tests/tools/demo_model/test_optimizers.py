"""Muon over convolution kernels is Muon over the matrices that they are."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from demo_model.checkpoint import load_checkpoint, save_checkpoint
from demo_model.optimizers import KernelMuon, new_optimizers
from torch import Tensor, nn

PEAK_RATE = 1e-2


def _network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(4, 8, 3), nn.SiLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 8))


def _weights(network: nn.Sequential) -> list[nn.Parameter]:
    return [p for p in network.parameters() if p.ndim >= 2]


def _step(network: nn.Sequential, optimizers: list[torch.optim.Optimizer], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    network(torch.randn(2, 4, 8, 8, generator=generator)).square().sum().backward()
    for optimizer in optimizers:
        optimizer.step()


def _matrix_step(matrix: Tensor, gradient: Tensor) -> Tensor:
    moved = nn.Parameter(matrix.clone())
    moved.grad = gradient.clone()
    torch.optim.Muon([moved], lr=PEAK_RATE, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw").step()
    return moved.detach()


def test_a_kernel_moves_as_its_matrix_does() -> None:
    network = _network()
    before = [p.detach().clone() for p in _weights(network)]
    _step(network, [KernelMuon(_weights(network), PEAK_RATE)], seed=1)
    for old, weight in zip(before, _weights(network), strict=True):
        assert weight.grad is not None
        expected = _matrix_step(old.flatten(1), weight.grad.flatten(1))
        assert torch.allclose(weight.detach().flatten(1), expected, atol=1e-7)
        assert not torch.equal(weight.detach(), old)


def test_gradients_do_not_pile_up() -> None:
    network = _network()
    optimizer = KernelMuon(_weights(network), PEAK_RATE)
    _step(network, [optimizer], seed=1)
    optimizer.zero_grad()
    assert all(p.grad is None for p in _weights(network))


def test_every_parameter_is_moved_by_exactly_one_optimizer() -> None:
    network = _network()
    optimizers = new_optimizers(network, _weights(network), PEAK_RATE)
    adamw = {id(p) for group in optimizers["adamw"].param_groups for p in group["params"]}
    assert adamw == {id(p) for p in network.parameters() if p.ndim < 2}
    before = copy.deepcopy(network.state_dict())
    _step(network, list(optimizers.values()), seed=1)
    assert not any(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_checkpoint_goes_on_where_it_was(tmp_path: Path) -> None:
    network = _network()
    optimizers = new_optimizers(network, _weights(network), PEAK_RATE)
    _step(network, list(optimizers.values()), seed=1)
    save_checkpoint(tmp_path / "c.pt", 7, {"network": network, **optimizers})
    _step(network, list(optimizers.values()), seed=2)

    resumed = _network()
    again = new_optimizers(resumed, _weights(resumed), PEAK_RATE)
    assert load_checkpoint(tmp_path / "c.pt", {"network": resumed, **again}) == 7
    _step(resumed, list(again.values()), seed=2)
    for name, value in network.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_kernel_that_is_not_contiguous_is_refused() -> None:
    kernel = nn.Parameter(torch.zeros(4, 4, 3, 3).to(memory_format=torch.channels_last))
    with pytest.raises(RuntimeError, match="view"):
        KernelMuon([kernel], PEAK_RATE)
