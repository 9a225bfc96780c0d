"""What of a picture a model exchanges between agents, and how large it is. Data only.

Shape letters: B batch (2 with guidance: negative, positive), C latent channels, H W latent height and width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from polyrhythm.ids import LayerId
from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm.plan.rows import RowRange


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangedLayer:
    """One layer of a denoiser that needs something of the rows of others.

    Attributes:
        kind: what it needs.
        shrink: latent rows to one row of cells (tokens, or pixels of the layer's feature map).
        columns: cells of one row.
        features: of one key or value; channels of a halo; groups of a normalisation.
        batch: batch elements that are sent.
        rows_above: halo: rows of cells that a patch needs of the patch above it.
        rows_below: halo: rows of cells that a patch needs of the patch below it.
        precise: whether it travels in the state's dtype rather than the activations'.
    """

    kind: LayerKind
    shrink: int
    columns: int
    features: int
    batch: int
    rows_above: int = 0
    rows_below: int = 0
    precise: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Sizes of one picture inside a model.

    Attributes:
        row_count: row units of the picture.
        latent_rows_per_unit: latent rows of one row unit; a multiple of every layer's ``shrink``.
        latent_channels: C.
        latent_height: H of the whole latent.
        latent_width: W of the whole latent.
        batch: B of one forward.
        layers: exchanging layers by identity, in the order in which a forward comes to them.
    """

    row_count: int
    latent_rows_per_unit: int
    latent_channels: int
    latent_height: int
    latent_width: int
    batch: int
    layers: Mapping[LayerId, ExchangedLayer]

    def latent_slice(self, rows: RowRange) -> slice:
        """Latent rows of a range of row units; the last unit may be short."""
        begin, end = (min(row * self.latent_rows_per_unit, self.latent_height) for row in (rows.begin, rows.end))
        return slice(begin, end)

    def cell_slice(self, layer: ExchangedLayer, rows: RowRange) -> slice:
        """Rows of a layer's cells of a range of row units; the last cell of the picture may be short."""
        latent = self.latent_slice(rows)
        return slice(latent.start // layer.shrink, -(-latent.stop // layer.shrink))

    @property
    def resync_after_move(self) -> bool:
        """Whether the first step after rows have moved must be synchronous; see ``ModelFacts``."""
        return any(layer.kind is not LayerKind.TOKENS for layer in self.layers.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What an agent published of its rows.

    Attributes:
        rows: row units of the sender.
        step: active step of the sender at which it was computed.
        tensor: the message.
    """

    rows: RowRange
    step: int
    tensor: Tensor
