"""What the layers of a denoiser send to other agents: kinds, and sizes of groups of like layers. Facts only.

Agents tell the coordinator these, so that it can predict bytes without knowing a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class LayerKind(StrEnum):
    """What a layer needs of the rows of others."""

    TOKENS = "tokens"
    """Self attention: keys and values of all rows."""
    HALO = "halo"
    """Convolution: the rows next to the own ones."""
    MOMENTS = "moments"
    """Group normalisation: mean and spread of everybody's rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGroup:
    """Layers of a denoiser that exchange messages of the same size.

    Attributes:
        kind: what they need.
        layers: how many of them there are.
        cell_px: pixels on a side of one token, or of one pixel of the feature map.
        cell_bytes: one batch element sends so much of one cell to one peer; moments: in all, whatever the rows are.
        rows_above: halo: rows of cells that an agent needs of the one above it.
        rows_below: halo: rows of cells that an agent needs of the one below it.
        guided: whether both halves of the guidance are sent; else one stands for both.
    """

    kind: LayerKind
    layers: int
    cell_px: int
    cell_bytes: int
    rows_above: int = 0
    rows_below: int = 0
    guided: bool = True

    def cells(self, side_px: int) -> int:
        """Cells along a side of so many pixels; the last one may be short."""
        return -(-side_px // self.cell_px)
