"""Weights of a denoiser outside of its device's memory, brought in block by block in every forward.

Owns what a block is, and the hooks that bring it in and let it go: into a CUDA device from the host's memory, into a
CPU's from the memory-mapped files. The arithmetic is that of weights that stay, up to rounding. diffusers has the same
for models whose top-level forward is called, which the families here do not do
(docs/adr/0007-an-own-hook-for-offloading.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from polyrhythm.model.facts import ModelFacts
from polyrhythm_agent.denoiser.on_demand import module_bytes

CONTAINERS = frozenset(
    {
        "transformer_blocks",
        "down_blocks",
        "mid_block",
        "up_blocks",
        "resnets",
        "attentions",
        "downsamplers",
        "upsamplers",
    }
)
"""Children of a denoiser, and of its parts, that blocks are in; whatever is in none of them stays."""


def blocks_of(module: nn.Module) -> Iterator[nn.Module]:
    """The innermost modules in containers: what is brought in at one time."""
    for name, child in module.named_children():
        if name in CONTAINERS:
            for each in child if isinstance(child, nn.ModuleList) else (child,):
                inner = tuple(blocks_of(each))
                yield from inner or (each,)


def offloaded_bytes(module: nn.Module) -> int:
    """What is held at most with the blocks' weights outside: all else, and the largest block."""
    sizes_bytes = [module_bytes(block) for block in blocks_of(module)]
    return module_bytes(module) - sum(sizes_bytes) + max(sizes_bytes, default=0)


class WeightsOutside:
    """The blocks' weights of one denoiser. Made before its modules are wrapped, since files name them as they were.

    Args:
        module: the denoiser, loaded into the host's memory.
        files: that it was loaded from.
        device: where it computes.
    """

    def __init__(self, module: nn.Module, files: Sequence[Path], device: torch.device) -> None:
        self._module = module
        self._device = device
        stored = _mapped(files) if device.type == "cpu" else {}
        self._homes: dict[nn.Parameter, Tensor] = {}
        self._users: Counter[nn.Parameter] = Counter()
        names = {parameter: name for name, parameter in module.named_parameters()}
        for block in blocks_of(module):
            for parameter in block.parameters():
                home = stored.get(names[parameter])
                self._homes[parameter] = home if home is not None and _same(home, parameter) else parameter.data

    def send_out(self, facts: ModelFacts) -> ModelFacts:
        """Takes the blocks' weights out of the device's memory, and brings in all else. Once, before any forward.

        Returns:
            The model's facts, now of an agent that works so.
        """
        for block in tuple(blocks_of(self._module)):
            for part in block.modules():
                own = tuple(p for p in (part.parameters() if part is block else part.parameters(recurse=False)))
                if own:
                    part.register_forward_pre_hook(self._entering(own))
                    part.register_forward_hook(self._leaving(own), always_call=True)
        for parameter in self._module.parameters():
            if parameter in self._homes:
                self._let_go(parameter)
            else:
                parameter.data = parameter.data.to(self._device)
        for module in self._module.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.to(self._device))
        return replace(facts, offloaded=True)

    def _entering(self, parameters: tuple[nn.Parameter, ...]) -> Any:
        def enter(*_: object) -> None:
            for parameter in parameters:
                if not self._users[parameter]:
                    self._bring_in(parameter)
                self._users[parameter] += 1

        return enter

    def _leaving(self, parameters: tuple[nn.Parameter, ...]) -> Any:
        def leave(*_: object) -> None:
            for parameter in parameters:
                self._users[parameter] -= 1
                if not self._users[parameter]:
                    self._let_go(parameter)

        return leave

    def _bring_in(self, parameter: nn.Parameter) -> None:
        with torch.inference_mode(mode=False):
            parameter.data = self._homes[parameter].to(self._device, parameter.dtype, copy=True)

    def _let_go(self, parameter: nn.Parameter) -> None:
        with torch.inference_mode(mode=False):
            parameter.data = torch.empty(0, dtype=parameter.dtype, device=self._device)


def _same(home: Tensor, parameter: nn.Parameter) -> bool:
    """Whether a file holds what was loaded: names may have changed their meaning since it was written."""
    return home.shape == parameter.shape and torch.equal(home.to(parameter.dtype), parameter.data)


def _mapped(files: Sequence[Path]) -> Mapping[str, Tensor]:
    """All weights of some files by name, in memory only while somebody reads them."""
    found: dict[str, Tensor] = {}
    for file in files:
        with safe_open(file, framework="pt") as weights:
            found |= {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
    return found
