"""The guidance as a vector, for denoisers that were distilled to be told it (Meng et al. 2023, Luo et al. 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PERIODS = 10000.0
"""Ratio of the longest wave to the shortest, as in the embedding of timesteps."""
SCALE = 1000.0
"""So that guidance varies over as many numbers as timesteps do."""


def embed_guidance(guidance: float, width: int) -> Tensor:
    """``(1, width)`` fp32 on the CPU: sines and cosines of the guidance beyond 1, where it begins to guide.

    In fp32 whatever the model computes in: angles go up to some ten thousand, so that it is fp32's rounding of them
    which models have been distilled with.
    """
    waves = width // 2
    frequency_F = torch.exp(
        torch.arange(waves, dtype=torch.float32) * -(torch.log(torch.tensor(PERIODS)) / (waves - 1))
    )
    angle_1F = SCALE * torch.tensor([guidance - 1.0], dtype=torch.float32)[:, None] * frequency_F
    return F.pad(torch.cat((angle_1F.sin(), angle_1F.cos()), dim=1), (0, width % 2))
