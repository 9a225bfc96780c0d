"""What models tell of their layers, for tests that know neither a model nor torch."""

from __future__ import annotations

from polyrhythm.model.exchanged_layers import LayerGroup, LayerKind


def token_groups(layers: int, *, cell_bytes: int, cell_px: int = 8) -> tuple[LayerGroup, ...]:
    """What a transformer tells of its layers; ``cell_bytes`` are those of one layer."""
    return (LayerGroup(kind=LayerKind.TOKENS, layers=layers, cell_px=cell_px, cell_bytes=cell_bytes),)
