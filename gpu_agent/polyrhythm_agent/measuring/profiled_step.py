"""One step of a patch as a job runs it, sampler update and emulated speed included; other agents' rows are invented."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from polyrhythm.ids import LayerId
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.exchange.shapes import message_shape
from polyrhythm_agent.ports.blocks import SAMPLER, BlockObserver
from polyrhythm_agent.ports.denoiser import DenoiserRun
from polyrhythm_agent.ports.exchange import ActivationExchange
from polyrhythm_agent.ports.layers import Geometry, Part

PROFILED_STEP = 1
OTHERS_STEP = 0
"""Other rows are a step behind, as in a displaced step."""


class RememberedRows:
    """Stands in for the exchange: other rows' activations are there already, at the cost of assembling them.

    Args:
        rows: own ones.
        geometry: of the picture.
        exchanges: called at every exchange.
    """

    def __init__(self, *, rows: RowRange, geometry: Geometry, exchanges: Callable[[], None] = lambda: None) -> None:
        self._exchanges = exchanges
        self._geometry = geometry
        self._others = tuple(
            other
            for other in (RowRange(begin=0, end=rows.begin), RowRange(begin=rows.end, end=geometry.row_count))
            if other.count
        )
        self._rows = rows

    @property
    def whole(self) -> bool:
        """Whether there are no others, as for ``SoloExchange``."""
        return not self._others

    def gather(self, layer: LayerId, own_KBND: Tensor) -> Tensor:
        """The own rows between zeros."""
        parts = [own_KBND]
        for part in self._parts(layer, own_KBND):
            parts.insert(0 if part.rows.end == self._rows.begin else len(parts), part.tensor)
        return torch.cat(parts, dim=2) if len(parts) > 1 else own_KBND

    def halo(self, layer: LayerId, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        """Rims of zeros."""
        found = {part.rows.end == self._rows.begin: part for part in self._parts(layer, own_BCHW)}
        return found.get(True), found.get(False)

    def collect(self, layer: LayerId, own_MBG: Tensor) -> tuple[Part, ...]:
        """Moments of rows that are all alike."""
        return (*self._parts(layer, own_MBG), Part(rows=self._rows, step=OTHERS_STEP, tensor=own_MBG))

    def _parts(self, layer: LayerId, own: Tensor) -> tuple[Part, ...]:
        self._exchanges()
        spec = self._geometry.layers[layer]
        found: list[Part] = []
        for rows in self._others:
            shape = message_shape(self._geometry, spec, rows, self._rows)
            if shape is not None:
                found.append(Part(rows=rows, step=OTHERS_STEP, tensor=own.new_zeros(shape)))
        return tuple(found)


class ProfiledStep:
    """One step of a patch of some rows, as a job runs it but for the other agents.

    Attributes:
        rows: of the patch.
        gaps_s: of each forward, the seconds between its exchanges.
    """

    def __init__(
        self,
        run: DenoiserRun,
        step: int,
        rows: int,
        observer: BlockObserver,
        around_exchange: Callable[[ActivationExchange], ActivationExchange],
    ) -> None:
        geometry = run.geometry
        self.rows = RowRange(begin=0, end=rows)
        self.gaps_s: list[list[float]] = []
        self._marks_s: list[float] = []
        self._run = run
        self._step = step
        self._observer = observer
        self._x_BCHW = run.initial_noise()[:, :, geometry.latent_slice(self.rows)]
        self._exchange = around_exchange(RememberedRows(rows=self.rows, geometry=geometry, exchanges=self._mark))

    @property
    def row_units(self) -> int:
        """How many rows."""
        return self.rows.count

    def _mark(self) -> None:
        self._marks_s.append(time.perf_counter())

    def time_s(self) -> float:
        """Wall seconds of prediction and sampler update."""
        self._marks_s = [time.perf_counter()]
        prediction_BCHW = self._run.predict(
            self._x_BCHW, self._step, self.rows, self._exchange, self._observer, x0_BCHW=self._x_BCHW
        )
        self._observer.begin_block(SAMPLER)
        history = (-1,) * self.rows.count
        next_x_BCHW, _ = self._run.advance(
            self._x_BCHW, prediction_BCHW, self._step, self._step + 1, self._x_BCHW, history, rows=self.rows
        )
        self._observer.end_block(SAMPLER)
        if next_x_BCHW.is_cuda:
            torch.cuda.synchronize(next_x_BCHW.device)
        self._mark()
        self.gaps_s.append([after_s - before_s for before_s, after_s in pairwise(self._marks_s)])
        return self._marks_s[-1] - self._marks_s[0]
