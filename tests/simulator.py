"""A single-process reference of a plan: what the picture must be, computed without the exchange or the step loop.

Shares only the model, its sampler and the Plan with the agents. One canvas holds the last published keys and values of
every row: a displaced step reads the canvas as it was before that fine step, a synchronous step is one forward over the
whole image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polyrhythm.plan import Exchange, Plan, Segment
from polyrhythm.rows import RowRange
from polyrhythm_agent.ports import DenoiserRun


class _Silent:
    def begin_layer(self, layer: str) -> None:
        pass

    def end_layer(self, layer: str, output: Tensor) -> Tensor:
        return output


class _Canvas:
    """Keys and values of all rows, layer by layer, seen from one patch."""

    def __init__(self, before_KBND: Mapping[int, Tensor], rows: RowRange, tokens_per_row: int) -> None:
        self._before_KBND = before_KBND
        self._tokens = slice(rows.begin * tokens_per_row, rows.end * tokens_per_row)
        self.published_KBND: dict[int, Tensor] = {}

    def gather(self, layer: int, own_KBND: Tensor) -> Tensor:
        self.published_KBND[layer] = own_KBND.clone()
        if layer not in self._before_KBND:
            return own_KBND
        all_KBND = self._before_KBND[layer].clone()
        all_KBND[:, :, self._tokens] = own_KBND
        return all_KBND


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedState:
    """The picture after a fine step, as far as each row's owner has come."""

    step: int
    x_BCHW: Tensor
    x0_BCHW: Tensor
    history: tuple[int, ...]


class PlanSimulator:
    """Runs a plan row by row on one device."""

    def __init__(self, run: DenoiserRun) -> None:
        self._run = run
        self._x_BCHW = run.initial_noise()
        self._x0_BCHW = torch.zeros_like(self._x_BCHW)
        self._history = [-1] * run.geometry.row_count
        self._canvas_KBND: dict[int, Tensor] = {}

    @torch.inference_mode()
    def simulate(self, plan: Plan) -> dict[int, SimulatedState]:
        """States by the number of fine steps behind them, for every fine step."""
        states: dict[int, SimulatedState] = {}
        for segment in plan.segments:
            for step in range(segment.begin_step, segment.end_step):
                if segment.exchange is Exchange.SYNCHRONOUS:
                    self._synchronous(step, segment)
                else:
                    self._displaced(step, segment)
                states[step + 1] = SimulatedState(
                    step=step + 1,
                    x_BCHW=self._x_BCHW.clone(),
                    x0_BCHW=self._x0_BCHW.clone(),
                    history=tuple(self._history),
                )
        return states

    def follow(self, plans: Sequence[Plan]) -> dict[int, SimulatedState]:
        """States of a picture that was re-planned: each further plan goes on from its own first boundary."""
        states: dict[int, SimulatedState] = {}
        for plan in plans:
            if plan.begin_step in states:
                resumed = states[plan.begin_step]
                self._x_BCHW, self._x0_BCHW = resumed.x_BCHW.clone(), resumed.x0_BCHW.clone()
                self._history = list(resumed.history)
            else:
                self._x_BCHW = self._run.initial_noise()
                self._history = [-1] * self._run.geometry.row_count
            states |= self.simulate(plan)
        return states

    def _synchronous(self, step: int, segment: Segment) -> None:
        rows = RowRange(begin=0, end=segment.row_count)
        self._canvas_KBND = dict(self._active(step, step + 1, rows, {}))

    def _displaced(self, step: int, segment: Segment) -> None:
        before_KBND = dict(self._canvas_KBND)
        tokens_per_row = self._run.geometry.tokens_per_row
        after_KBND = {layer: kv_KBND.clone() for layer, kv_KBND in before_KBND.items()}
        for assignment in segment.assignments:
            if assignment.rows.count and (step - segment.begin_step) % assignment.stride == 0:
                published = self._active(step, step + assignment.stride, assignment.rows, before_KBND)
                tokens = slice(assignment.rows.begin * tokens_per_row, assignment.rows.end * tokens_per_row)
                for layer, own_KBND in published.items():
                    after_KBND[layer][:, :, tokens] = own_KBND
        self._canvas_KBND = after_KBND

    def _active(
        self, step: int, next_step: int, rows: RowRange, before_KBND: Mapping[int, Tensor]
    ) -> Mapping[int, Tensor]:
        latent_rows = self._run.geometry.latent_slice(rows)
        canvas = _Canvas(before_KBND, rows, self._run.geometry.tokens_per_row)
        x_BCHW = self._x_BCHW[:, :, latent_rows].clone()
        prediction_BCHW = self._run.predict(x_BCHW, step, rows, canvas, _Silent())
        history = self._history[rows.begin : rows.end]
        next_x_BCHW, x0_BCHW = self._run.advance(
            x_BCHW, prediction_BCHW, step, next_step, self._x0_BCHW[:, :, latent_rows].clone(), history
        )
        self._x_BCHW[:, :, latent_rows] = next_x_BCHW
        self._x0_BCHW[:, :, latent_rows] = x0_BCHW
        self._history[rows.begin : rows.end] = [step] * rows.count
        return canvas.published_KBND
