"""Predicts how far a plan's picture is from that of a single device, from a model's calibration.

Owns the formula (this project's own). Each row collects **exposures**: to every window of the grid, how stale the rows
are that it reads there, and to every place, whether it jumped there. A disturbance of exposure c leaves c times its
measured error vector, errors add as vectors, and sums fall behind where they are large:

    sum = mean over rows r of  weight_r * c_r . products . c_r        mse = saturated(sum)

* Staleness: a row whose agent reads the share v of the picture from others, ``age`` fine steps old on average, is
  exposed v * age / (1/2): two equal halves at stride 1 are what was measured. Shares are weighted like the rows, since
  what does not change cannot be stale.
* A jump over two fine steps is a merge at its place, exposure 1; between two measured places it is split so that
  squares add up to 1, since errors of neighbouring places hardly correlate. One that follows another costs more where
  the sampler looks back (the calibration's ``following_merge``). A jump over s steps counts as s - 1 jumps
  over two, each s / 2 times.
* On a grid of other length, drift a step and the length of a step scale: staleness in a window with the first power
  of the step's length, a merge with the sampler's order of local error.

Shape letters: R row units, A agents, D disturbances (W windows, then P places), M fine steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import lcm, log10
from typing import cast

import numpy as np
from numpy.typing import NDArray

from polyrhythm.calibration import (
    IDENTICAL_PSNR_DB,
    SECOND_ORDER_SAMPLERS,
    Calibration,
    saturated,
)
from polyrhythm.plan import Exchange, Plan, Segment
from polyrhythm_coordinator.scheduling.partition import equal_rows
from polyrhythm_coordinator.scheduling.request import PlanRequest

Array = NDArray[np.float64]

MEASURED_SHARE = 0.5
"""Of the picture that was stale when windows were measured."""

STALE_ORDER = 1.0
SECOND_ORDER_MERGE = 3.0
FIRST_ORDER_MERGE = 2.0
"""Powers of the step's length: drift a step; local errors of solvers of second and of first order."""


@lru_cache(maxsize=4096)
def mean_age(reader_stride: int, owner_stride: int) -> float:
    """Fine steps between an active step of a reader and the newest version before it, on average over an interval."""
    interval = lcm(reader_stride, owner_stride)
    active = range(interval, 2 * interval, reader_stride)
    return sum(step - (step - 1) // owner_stride * owner_stride for step in active) / len(active)


@dataclass(frozen=True, kw_only=True)  # without slots: the arrays below are computed once and kept
class Distortion:
    """The prediction for pictures of one height and length.

    Attributes:
        calibration: of the model and the sampler.
        steps: fine steps of the picture.
        row_count: row units of the picture.
    """

    calibration: Calibration
    steps: int
    row_count: int

    @cached_property
    def products_DD(self) -> Array:
        """Mean products of the errors of two disturbances."""
        size = self.calibration.size
        return np.array(self.calibration.products).reshape(size, size)

    @cached_property
    def weights_R(self) -> Array:
        """How errors lie over the rows, of mean 1."""
        measured = np.array(self.calibration.row_weights)
        # The integral of the measured weights, read off at the edges of this picture's rows.
        edges = np.linspace(0.0, 1.0, len(measured) + 1)
        integral = np.concatenate(([0.0], np.cumsum(measured))) / measured.sum()
        wanted = np.linspace(0.0, 1.0, self.row_count + 1)
        integral_E = cast("Array", np.interp(wanted, edges, integral))
        return (integral_E[1:] - integral_E[:-1]) * self.row_count

    @cached_property
    def stale_MD(self) -> Array:
        """Exposure of each fine step to each window, at the measured share and an age of 1."""
        calibration, ratio = self.calibration, self.calibration.steps / self.steps
        begins = np.array(calibration.stale_begin_steps, dtype=np.float64)
        ends = np.append(begins[1:], calibration.steps)
        lengths_W = ends - begins
        begins[0] = 0.0  # what lies before the first window is taken for a part of it
        step_M = np.arange(self.steps)[:, None] * ratio
        overlap_MW = np.clip(np.minimum(step_M + ratio, ends) - np.maximum(step_M, begins), 0.0, None)
        exposure_MD = np.zeros((self.steps, calibration.size))
        exposure_MD[:, : len(begins)] = overlap_MW / lengths_W * ratio**STALE_ORDER
        return exposure_MD

    @cached_property
    def pairs_MD(self) -> Array:
        """Exposure of the jump over steps k and k + 1 to each place; the last row is empty."""
        calibration, ratio = self.calibration, self.calibration.steps / self.steps
        second = calibration.sampler in SECOND_ORDER_SAMPLERS
        scale = ratio ** (SECOND_ORDER_MERGE if second else FIRST_ORDER_MERGE)
        places = np.array(calibration.merge_steps, dtype=np.float64)
        windows = len(calibration.stale_begin_steps)
        exposure_MD = np.zeros((self.steps, calibration.size))
        for step in range(self.steps - 1):
            position = float(np.clip((step + 1) * ratio - 1, places[0], places[-1]))
            after = min(int(np.searchsorted(places, position, side="right")), len(places) - 1)
            before = max(0, after - 1)
            gap = places[after] - places[before]
            share = 1.0 if gap == 0 else float(np.clip((position - places[before]) / gap, 0.0, 1.0))
            exposure_MD[step, windows + before] += scale * np.sqrt(1 - share)
            exposure_MD[step, windows + after] += scale * np.sqrt(share)
        return exposure_MD

    def stale_R(self, counts: Sequence[int], strides: Sequence[int]) -> Array:
        """How stale what each row reads is, relative to what was measured; rows in order of the agents."""
        shares_A = np.add.reduceat(np.append(self.weights_R, 0.0), np.cumsum([0, *counts])[:-1]) * (
            np.array(counts) > 0
        )
        shares_A = shares_A / self.row_count
        of_stride = {stride: float(shares_A[[s == stride for s in strides]].sum()) for stride in sorted(set(strides))}
        seen = {stride: sum(of_stride[b] * mean_age(stride, b) for b in of_stride) for stride in of_stride}
        stale_A = np.array([seen[s] - share * mean_age(s, s) for s, share in zip(strides, shares_A, strict=True)])
        return np.repeat(stale_A / MEASURED_SHARE, counts)

    def jumps_D(self, begin: int, end: int, stride: int) -> Array:
        """Exposure of rows that run some steps at a stride."""
        if stride == 1:
            return np.zeros(self.calibration.size)
        pairs = [k for k in range(begin, min(end, self.steps) - 1) if (k - begin) % stride != stride - 1]
        factor = self.calibration.following_merge
        weights = np.array([1.0 if k < begin + stride else factor for k in pairs]) * stride / 2
        return weights @ self.pairs_MD[pairs]

    def following_D(self, begin: int, stride: int) -> Array:
        """What the first jump of such a run costs beyond that where the step before it was a jump as well."""
        factor = self.calibration.following_merge
        return self.jumps_D(begin, begin + stride, stride) * (factor - 1.0)

    @cached_property
    def _of_cells(self) -> dict[tuple[tuple[int, ...], int, int], Array]:
        """Exposures of cells that were asked for before: the gangs of a search share them."""
        return {}

    def stale_ND(self, begins: tuple[int, ...], steps: int) -> Array:
        """Exposure of so many steps from each of some on to each window, at the measured share and an age of 1."""
        key = (begins, steps, 0)
        if key not in self._of_cells:
            self._of_cells[key] = np.array([self.stale_MD[begin : begin + steps].sum(axis=0) for begin in begins])
        return self._of_cells[key]

    def jumps_ND(self, begins: tuple[int, ...], steps: int, stride: int) -> Array:
        """Exposure of rows that run so many steps from each of some on at a stride."""
        key = (begins, steps, stride)
        if key not in self._of_cells:
            self._of_cells[key] = np.array([self.jumps_D(begin, begin + steps, stride) for begin in begins])
        return self._of_cells[key]

    def following_ND(self, begins: tuple[int, ...], stride: int) -> Array:
        """What the first jump of each cell costs beyond that where it follows a jump."""
        key = (begins, -1, stride)
        if key not in self._of_cells:
            self._of_cells[key] = np.array([self.following_D(begin, stride) for begin in begins])
        return self._of_cells[key]

    def exposures_RD(self, segment: Segment) -> Array:
        """Exposures of all rows, top of the picture first, in one segment."""
        held = sorted((a for a in segment.assignments if a.rows.count), key=lambda a: a.rows)
        counts, strides = [a.rows.count for a in held], [a.stride for a in held]
        if segment.exchange is Exchange.SYNCHRONOUS:
            return np.zeros((self.row_count, self.calibration.size))
        window_D = self.stale_MD[segment.begin_step : segment.end_step].sum(axis=0)
        exposure_RD: Array = self.stale_R(counts, strides)[:, None] * window_D
        for stride in {s for s in strides if s > 1}:
            jumps_D = self.jumps_D(segment.begin_step, segment.end_step, stride)
            exposure_RD += np.repeat([float(s == stride) for s in strides], counts)[:, None] * jumps_D
        return exposure_RD

    def sum_mse(self, exposures_RD: Array) -> float:
        """Mean square of the summed error vectors."""
        energy_R = ((exposures_RD @ self.products_DD) * exposures_RD).sum(axis=1)
        return max(0.0, float(energy_R @ self.weights_R) / self.row_count)

    def plan_sum_mse(self, plan: Plan) -> float:
        """The same of a whole plan."""
        exposure_RD = np.zeros((self.row_count, self.calibration.size))
        before_R = np.ones(self.row_count)
        for segment in plan.segments:
            exposure_RD += self.exposures_RD(segment)
            strides_R = self._strides_R(segment)
            for stride in {s for s in segment.strides if s > 1}:
                follows_R = (before_R > 1) & (strides_R == stride)
                exposure_RD += follows_R[:, None] * self.following_D(segment.begin_step, stride)
            before_R = strides_R
        return self.sum_mse(exposure_RD)

    def _strides_R(self, segment: Segment) -> Array:
        """The stride of each row's agent."""
        strides_R = np.ones(self.row_count)
        for assignment in segment.assignments:
            strides_R[assignment.rows.begin : assignment.rows.end] = assignment.stride
        return strides_R

    def psnr_db(self, sum_mse: float) -> float:
        """PSNR of the latent, from the mean square of the summed error vectors."""
        mse = saturated(sum_mse, self.calibration.saturation_mse)
        peak = self.calibration.latent_range**2
        return IDENTICAL_PSNR_DB if mse <= peak * 10 ** (-IDENTICAL_PSNR_DB / 10) else 10 * log10(peak / mse)

    def plan_psnr_db(self, plan: Plan) -> float:
        """Predicted PSNR of the final latent of a plan; of one that resumes, what the rest adds."""
        return self.psnr_db(self.plan_sum_mse(plan))

    def displaced_sum_mse(self, agents: int, displaced_from: int) -> float:
        """Of plain displaced parallelism: equal rows, stride 1, displaced from a step on; two agents at least."""
        counts = equal_rows(max(2, agents), self.row_count)
        stale_R = self.stale_R(counts, (1,) * len(counts))
        return self.sum_mse(stale_R[:, None] * self.stale_MD[displaced_from:].sum(axis=0))


@lru_cache(maxsize=64)
def _distortion(calibration: Calibration | None, sampler: str, steps: int, row_count: int) -> Distortion | None:
    """The prediction for a picture, or None where its sampler was not measured."""
    if calibration is None or calibration.sampler != sampler:
        return None
    return Distortion(calibration=calibration, steps=steps, row_count=row_count)


def distortion_of(request: PlanRequest) -> Distortion | None:
    """The prediction for a request's picture, or None where its model and sampler are not calibrated."""
    return _distortion(request.facts.calibration, request.image.sampler.value, request.image.steps, request.row_count)
