"""Sizes of pictures for tests, and exchanging layers: alike as a transformer's, or of a small convolutional net."""

from __future__ import annotations

from collections.abc import Mapping

from polyrhythm.ids import LayerId
from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm_agent.ports.layers import ExchangedLayer, Geometry


def geometry(
    row_count: int,
    layers: Mapping[LayerId, ExchangedLayer],
    *,
    unit: int = 2,
    channels: int = 1,
    height: int | None = None,
    width: int = 1,
    batch: int = 1,
) -> Geometry:
    """A picture of so many row units of ``unit`` latent rows each, the last of which a ``height`` may cut short."""
    return Geometry(
        row_count=row_count,
        latent_rows_per_unit=unit,
        latent_channels=channels,
        latent_height=unit * row_count if height is None else height,
        latent_width=width,
        batch=batch,
        layers=layers,
    )


def token_layers(
    count: int, *, columns: int, features: int, batch: int, shrink: int = 2
) -> Mapping[LayerId, ExchangedLayer]:
    """Self attentions of one size: ``blocks.0`` and so on."""
    layer = ExchangedLayer(kind=LayerKind.TOKENS, shrink=shrink, columns=columns, features=features, batch=batch)
    return {LayerId(f"blocks.{index}"): layer for index in range(count)}


def convolutional_layers(*, columns: int) -> Mapping[LayerId, ExchangedLayer]:
    """One layer of each kind, as a small convolutional net has them, at two levels."""
    return {
        LayerId("conv_in"): ExchangedLayer(
            kind=LayerKind.HALO,
            shrink=1,
            columns=columns,
            features=3,
            batch=1,
            rows_above=1,
            rows_below=1,
            precise=True,
        ),
        LayerId("norm"): ExchangedLayer(
            kind=LayerKind.MOMENTS, shrink=1, columns=columns, features=2, batch=2, precise=True
        ),
        LayerId("down"): ExchangedLayer(
            kind=LayerKind.HALO, shrink=1, columns=columns, features=4, batch=2, rows_above=1
        ),
        LayerId("attn"): ExchangedLayer(kind=LayerKind.TOKENS, shrink=2, columns=-(-columns // 2), features=4, batch=2),
        LayerId("conv_out"): ExchangedLayer(
            kind=LayerKind.HALO, shrink=2, columns=-(-columns // 2), features=4, batch=2, rows_above=1, rows_below=1
        ),
    }
