"""Shapes and bytes of a gang's messages, from the sizes of a picture and the rows of both ends. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import assert_never

import torch

from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.ports.layers import ExchangedLayer, Geometry

STATE_TENSORS = 2
"""x and x0."""


def message_shape(
    geometry: Geometry, layer: ExchangedLayer, rows: RowRange, reader_rows: RowRange
) -> tuple[int, ...] | None:
    """What the owner of some rows sends to the owner of others in one layer; None where that is nothing."""
    cells = geometry.cell_slice(layer, rows)
    height = cells.stop - cells.start
    match layer.kind:
        case LayerKind.TOKENS:
            return (2, layer.batch, height * layer.columns, layer.features)
        case LayerKind.MOMENTS:
            return (2, layer.batch, layer.features)
        case LayerKind.HALO:
            rim = rim_rows(layer, rows, reader_rows)
            return (layer.batch, layer.features, rim, layer.columns) if rim else None
        case _:
            assert_never(layer.kind)


def rim_rows(layer: ExchangedLayer, rows: RowRange, reader_rows: RowRange) -> int:
    """Rows of cells that the owner of some rows sends to the owner of others; 0 where the two are no neighbours."""
    if not rows.count or not reader_rows.count:
        return 0
    if rows.end == reader_rows.begin:
        return layer.rows_above
    return layer.rows_below if reader_rows.end == rows.begin else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSizes:
    """Bytes of the messages of one picture.

    Attributes:
        geometry: of the picture.
        activation_dtype: in which activations travel.
        state_dtype: in which x and x0 travel, and what a layer wants precise.
    """

    geometry: Geometry
    activation_dtype: torch.dtype
    state_dtype: torch.dtype

    def dtype(self, layer: ExchangedLayer) -> torch.dtype:
        """In which a layer's messages travel."""
        return self.state_dtype if layer.precise else self.activation_dtype

    def version_bytes(self, rows: RowRange, reader_rows: RowRange) -> int:
        """All layers of one version, to one reader."""
        layers = self.geometry.layers.values()
        shapes = ((layer, message_shape(self.geometry, layer, rows, reader_rows)) for layer in layers)
        return sum(prod(shape) * self.dtype(layer).itemsize for layer, shape in shapes if shape is not None)

    def boundary_bytes(self, rows: RowRange) -> int:
        """The message of one boundary."""
        latent = self.geometry.latent_slice(rows)
        values = (latent.stop - latent.start) * self.geometry.latent_channels * self.geometry.latent_width
        return STATE_TENSORS * values * self.state_dtype.itemsize
