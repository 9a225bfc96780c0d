"""Exchanging layers for tests: those of transformers, which are all alike, and those of a small convolutional net."""

from __future__ import annotations

from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm_agent.ports.layers import ExchangedLayer


def token_layers(count: int, *, columns: int, features: int, batch: int, shrink: int = 2) -> tuple[ExchangedLayer, ...]:
    """Self attentions of one size."""
    layer = ExchangedLayer(kind=LayerKind.TOKENS, shrink=shrink, columns=columns, features=features, batch=batch)
    return (layer,) * count


def convolutional_layers(*, columns: int) -> tuple[ExchangedLayer, ...]:
    """One layer of each kind, as a small convolutional net has them, at two levels."""
    return (
        ExchangedLayer(
            kind=LayerKind.HALO,
            shrink=1,
            columns=columns,
            features=3,
            batch=1,
            rows_above=1,
            rows_below=1,
            precise=True,
        ),
        ExchangedLayer(kind=LayerKind.MOMENTS, shrink=1, columns=columns, features=2, batch=2, precise=True),
        ExchangedLayer(kind=LayerKind.HALO, shrink=1, columns=columns, features=4, batch=2, rows_above=1),
        ExchangedLayer(kind=LayerKind.TOKENS, shrink=2, columns=-(-columns // 2), features=4, batch=2),
        ExchangedLayer(
            kind=LayerKind.HALO, shrink=2, columns=-(-columns // 2), features=4, batch=2, rows_above=1, rows_below=1
        ),
    )
