"""The unit noise of one picture, all from one seed: what it begins with, and what some samplers add at every step.

Owns the order in which it is drawn: that of diffusers' pipelines, which draw the initial latent and then one tensor a
step from the same generator. It is drawn on the CPU, in fp32, for the whole picture, whatever rows, device and
precision it is for: a seed means one picture on every split. Diffusers draws in the model's own precision, so the same
seed is the same picture as there in fp32 only.

Shape letters: B C H W as in the ports.
"""

from __future__ import annotations

import torch
from torch import Tensor

from polyrhythm_agent.ports.layers import Geometry


class PictureNoise:
    """Noise by step; cheapest where steps are asked for in ascending order.

    Args:
        seed: of the picture.
        geometry: of the whole picture.
    """

    def __init__(self, *, seed: int, geometry: Geometry) -> None:
        self._seed = seed
        self._shape = (1, geometry.latent_channels, geometry.latent_height, geometry.latent_width)
        self._generator, self._draws, self._last_BCHW = self._begin()

    def initial(self) -> Tensor:
        """``(1, C, H, W)`` fp32 on the CPU: the picture before its first step."""
        return self._draw(0)

    def of_step(self, step: int) -> Tensor:
        """``(1, C, H, W)`` fp32 on the CPU: what is added in the step from this point to the next."""
        return self._draw(1 + step)

    def _draw(self, index: int) -> Tensor:
        if index < self._draws - 1:
            self._generator, self._draws, self._last_BCHW = self._begin()
        while self._draws <= index:
            self._last_BCHW = torch.randn(self._shape, generator=self._generator, dtype=torch.float32)
            self._draws += 1
        return self._last_BCHW

    def _begin(self) -> tuple[torch.Generator, int, Tensor]:
        return torch.Generator("cpu").manual_seed(self._seed), 0, torch.empty(0)
