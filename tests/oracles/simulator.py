"""A single-process reference of a plan: what the picture must be, computed without the exchange or the step loop.

Shares only the model, its sampler and the Plan with the agents. One canvas holds the last published keys and values of
every row: a displaced step reads the canvas as it was before that fine step, a synchronous step is one forward over the
whole image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polyrhythm.model.exchanged_layers import LayerKind
from polyrhythm.plan.plan import Exchange, Plan, Segment
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.denoiser.layers.solo import NoObserver
from polyrhythm_agent.ports.denoiser import DenoiserRun
from tests.oracles.canvas import Canvas, PatchView, ReplayedPatch


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
        self._canvas = Canvas(run.geometry)

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
        """One forward over the whole image; a second one, patch by patch, only tells the moments of each patch."""
        x_BCHW, x0_BCHW, history = self._x_BCHW.clone(), self._x0_BCHW.clone(), list(self._history)
        all_rows = RowRange(begin=0, end=segment.row_count)
        whole = PatchView(Canvas(self._run.geometry), all_rows)
        self._active(step, step + 1, whole)
        canvas = Canvas(self._run.geometry)
        canvas.paint(whole, step)
        if any(layer.kind is LayerKind.MOMENTS for layer in self._run.geometry.layers.values()):
            after = self._x_BCHW, self._x0_BCHW, self._history
            self._canvas = canvas.copy()
            for assignment in segment.assignments:
                if assignment.rows.count:
                    self._x_BCHW, self._x0_BCHW, self._history = x_BCHW.clone(), x0_BCHW.clone(), list(history)
                    patch = ReplayedPatch(canvas, assignment.rows, step)
                    self._active(step, step + 1, patch)
                    self._canvas.paint(patch, step)
            self._x_BCHW, self._x0_BCHW, self._history = after
        else:
            self._canvas = canvas

    def _view(self, canvas: Canvas, rows: RowRange, step: int) -> PatchView:
        """What a patch sees of others in a displaced step."""
        del step
        return PatchView(canvas, rows)

    def _displaced(self, step: int, segment: Segment) -> None:
        before, after = self._canvas, self._canvas.copy()
        for assignment in segment.assignments:
            if assignment.rows.count and (step - segment.begin_step) % assignment.stride == 0:
                patch = self._view(before, assignment.rows, step)
                self._active(step, step + assignment.stride, patch)
                after.paint(patch, step)
        self._canvas = after

    def _active(self, step: int, next_step: int, patch: PatchView) -> None:
        rows = patch.rows
        latent_rows = self._run.geometry.latent_slice(rows)
        x_BCHW, x0_BCHW = self._x_BCHW[:, :, latent_rows].clone(), self._x0_BCHW[:, :, latent_rows].clone()
        prediction_BCHW = self._run.predict(x_BCHW, step, rows, patch, NoObserver(), x0_BCHW=x0_BCHW)
        history = self._history[rows.begin : rows.end]
        next_x_BCHW, next_x0_BCHW = self._run.advance(
            x_BCHW, prediction_BCHW, step, next_step, x0_BCHW, history, rows=rows
        )
        self._x_BCHW[:, :, latent_rows] = next_x_BCHW
        self._x0_BCHW[:, :, latent_rows] = next_x0_BCHW
        self._history[rows.begin : rows.end] = [step] * rows.count
