"""What the agents' layers have published so far, for the whole picture, as the simulator remembers it.

A layer's canvas holds every row: keys and values, or a whole feature map, of which halos are cut. Moments are kept as
their owners computed them. Shape letters as in the agents' ports.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from polyrhythm.ids import LayerId
from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.ports.layers import Geometry, Part


@dataclass(slots=True)
class Canvas:
    """All rows of all layers, and the step at which each row was last computed."""

    geometry: Geometry
    whole: dict[LayerId, Tensor] = field(default_factory=dict)
    moments: dict[LayerId, dict[RowRange, Tensor]] = field(default_factory=dict)
    steps_R: dict[int, int] = field(default_factory=dict)

    def copy(self) -> Canvas:
        return Canvas(
            self.geometry,
            {layer: tensor.clone() for layer, tensor in self.whole.items()},
            {layer: dict(parts) for layer, parts in self.moments.items()},
            dict(self.steps_R),
        )

    def cells(self, layer: LayerId, rows: RowRange) -> slice:
        """Where some rows lie along the third axis of a layer's tensor."""
        spec = self.geometry.layers[layer]
        rows_of_cells = self.geometry.cell_slice(spec, rows)
        per_row = spec.columns if spec.kind is LayerKind.TOKENS else 1
        return slice(rows_of_cells.start * per_row, rows_of_cells.stop * per_row)

    def paint(self, patch: PatchView, step: int) -> None:
        """Takes over what a patch has published."""
        for layer, own in patch.published.items():
            if self.geometry.layers[layer].kind is LayerKind.MOMENTS:
                parts = self.moments.setdefault(layer, {})
                for rows in [rows for rows in parts if rows.intersect(patch.rows).count]:
                    del parts[rows]
                parts[patch.rows] = own
            elif layer in self.whole:
                self.whole[layer][:, :, self.cells(layer, patch.rows)] = own
            else:
                self.whole[layer] = own
        self.steps_R |= dict.fromkeys(range(patch.rows.begin, patch.rows.end), step)


class PatchView:
    """The exchange of one patch's forward: own rows as they come, others as a canvas has them.

    It wants the moments of whole pictures, too.
    """

    whole = False

    def __init__(self, canvas: Canvas, rows: RowRange) -> None:
        self.rows = rows
        self.published: dict[LayerId, Tensor] = {}
        self._canvas = canvas
        self._is_whole = rows.count == canvas.geometry.row_count

    def gather(self, layer: LayerId, own_KBND: Tensor) -> Tensor:
        self.published[layer] = own_KBND.clone()
        if self._is_whole:
            return own_KBND
        all_KBND = self._canvas.whole[layer].clone()
        all_KBND[:, :, self._canvas.cells(layer, self.rows)] = own_KBND
        return all_KBND

    def halo(self, layer: LayerId, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        self.published[layer] = own_BCHW.clone()
        if self._is_whole:
            return None, None
        spec = self._canvas.geometry.layers[layer]
        own, map_BCHW = self._canvas.cells(layer, self.rows), self._canvas.whole[layer]
        above = below = None
        if spec.rows_above and self.rows.begin > 0:
            rim_BCHW = map_BCHW[:, :, own.start - spec.rows_above : own.start].clone()
            above = self._part(self.rows.begin - 1, rim_BCHW)
        if spec.rows_below and self.rows.end < self._canvas.geometry.row_count:
            rim_BCHW = map_BCHW[:, :, own.stop : own.stop + spec.rows_below].clone()
            below = self._part(self.rows.end, rim_BCHW)
        return above, below

    def collect(self, layer: LayerId, own_MBG: Tensor) -> tuple[Part, ...]:
        self.published[layer] = own_MBG.clone()
        if self._is_whole:
            return ()
        return tuple(
            Part(rows=rows, step=self._canvas.steps_R[rows.begin], tensor=tensor.clone())
            for rows, tensor in sorted(self._canvas.moments[layer].items())
        )

    def _part(self, row: int, tensor: Tensor) -> Part:
        return Part(rows=RowRange(begin=row, end=row + 1), step=self._canvas.steps_R[row], tensor=tensor)


class ReplayedPatch(PatchView):
    """A patch beside others of the same step, whose whole forward is known: finds the moments of its own rows.

    Moments of the others are those of the whole picture without the own ones.
    """

    def __init__(self, whole: Canvas, rows: RowRange, step: int) -> None:
        super().__init__(whole, rows)
        self._whole = whole
        self._step = step

    def collect(self, layer: LayerId, own_MBG: Tensor) -> tuple[Part, ...]:
        self.published[layer] = own_MBG.clone()
        if self._is_whole:
            return ()
        geometry = self._whole.geometry
        (whole_MBG,) = self._whole.moments[layer].values()
        own, height = self._whole.cells(layer, self.rows), self._whole.cells(layer, _all_rows(geometry)).stop
        share = (own.stop - own.start) / height
        mean_BG = (whole_MBG[0] - share * own_MBG[0]) / (1 - share)
        spread_BG = whole_MBG[1] - share * (own_MBG[1] + (own_MBG[0] - whole_MBG[0]) ** 2)
        variance_BG = (spread_BG / (1 - share) - (mean_BG - whole_MBG[0]) ** 2).clamp(min=0)
        rest = (RowRange(begin=0, end=self.rows.begin), RowRange(begin=self.rows.end, end=geometry.row_count))
        tensor = torch.stack((mean_BG, variance_BG))
        return tuple(Part(rows=rows, step=self._step, tensor=tensor) for rows in rest if rows.count)


def _all_rows(geometry: Geometry) -> RowRange:
    return RowRange(begin=0, end=geometry.row_count)
