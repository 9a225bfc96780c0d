"""Predicts how far a plan's picture is from that of a single device, from a model's calibration.

Owns the formula (this project's own). Each row collects **exposures**: to every window of the grid, how stale the rows
are that it reads there, and to every place, whether it jumped there. A disturbance of exposure c leaves c times its
measured error vector, errors add as vectors, and sums fall behind where they are large:

    sum = mean over rows r of  weight_r * c_r . products . c_r        mse = saturated(sum)

* Staleness: a row whose agent reads the share v of the picture from others, ``age`` fine steps old on average, is
  exposed v * age / (1/2): two equal halves at stride 1 are what was measured. Shares are weighted like the rows, since
  what does not change cannot be stale.
  What is read at another stride than it was computed at leaves what was measured of unequal strides beyond that.
* A jump over two fine steps is a merge at its place, exposure 1; between two measured places it is interpolated. One
  that follows another also leaves what was measured of two in a row beyond both alone. A jump over s steps counts as
  s - 1 jumps over two, each s / 2 times.
* On a grid of other length, drift a step and the length of a step scale: staleness in a window with the first power
  of the step's length, a merge with the sampler's order of local error.

Shape letters: R row units, A agents, D disturbances (in the order of the calibration), M fine steps, W windows, N cells
of steps, T ways in which a cell's rows can be exposed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import log10
from typing import cast

import numpy as np
from numpy.typing import NDArray

from polyrhythm.calibration import (
    IDENTICAL_PSNR_DB,
    SECOND_ORDER_SAMPLERS,
    Calibration,
    interpolated,
    mean_age,
    nearest,
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


Cells = tuple[tuple[int, int], ...]
"""First fine step of each and last one, exclusive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellProducts:
    """Products of the errors of what rows can be exposed to in cells of steps, whoever holds them.

    A cell's rows can be exposed to staleness, to unequal strides, and for each stride to jumps and to what the first
    jump leaves beyond itself where it follows another: T is 2, and 2 more a stride.

    Attributes:
        pairs_TTNN: of two of these in two cells.
        rest_TN: of each with the staleness of the steps that are left.
        rest_mse: of that with itself.
    """

    pairs_TTNN: Array
    rest_TN: Array
    rest_mse: float


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
        return self._windows_MD(self.calibration.stale_begin_steps, 0)

    @cached_property
    def unequal_MD(self) -> Array:
        """The same to what unequal strides leave beyond that."""
        begins = self.calibration.unequal_begin_steps
        return self._windows_MD(begins, self.calibration.size - len(begins))

    def _windows_MD(self, begin_steps: Sequence[int], before: int) -> Array:
        calibration, ratio = self.calibration, self.calibration.steps / self.steps
        begins = np.array(begin_steps, dtype=np.float64)
        ends = np.append(begins[1:], calibration.steps)
        lengths_W = ends - begins
        begins[0] = 0.0  # what lies before the first window is taken for a part of it
        step_M = np.arange(self.steps)[:, None] * ratio
        overlap_MW = np.clip(np.minimum(step_M + ratio, ends) - np.maximum(step_M, begins), 0.0, None)
        exposure_MD = np.zeros((self.steps, calibration.size))
        exposure_MD[:, before : before + len(begins)] = overlap_MW / lengths_W * ratio**STALE_ORDER
        return exposure_MD

    @cached_property
    def pairs_MD(self) -> Array:
        """Exposure of the jump over steps k and k + 1 to each place; the last row is empty."""
        return self._jumps_MD(self.calibration.merge_steps, len(self.calibration.stale_begin_steps))

    @cached_property
    def following_MD(self) -> Array:
        """Exposure of the same jump to what it leaves beyond itself where the step before it was a jump as well."""
        before = len(self.calibration.stale_begin_steps) + len(self.calibration.merge_steps)
        return self._jumps_MD(self.calibration.following_steps, before)

    def _jumps_MD(self, begin_steps: Sequence[int], before: int) -> Array:
        """Exposure of each jump over two steps to disturbances at some steps, which so many others come before."""
        calibration, ratio = self.calibration, self.calibration.steps / self.steps
        second = calibration.sampler in SECOND_ORDER_SAMPLERS
        scale = ratio ** (SECOND_ORDER_MERGE if second else FIRST_ORDER_MERGE)
        products_DD = self.products_DD[before:, before:]
        exposure_MD = np.zeros((self.steps, calibration.size))
        for step in range(self.steps - 1 if begin_steps else 0):
            position = (step + 1) * ratio - 1
            for index, times in interpolated(position, begin_steps, lambda i, j: float(products_DD[i, j])):
                exposure_MD[step, before + index] += scale * times
        return exposure_MD

    def stale_R(self, counts: Sequence[int], strides: Sequence[int]) -> Array:
        """How stale what each row reads is, relative to what was measured; rows in order of the agents."""
        return self._read_R(counts, strides, mean_age)

    def unequal_R(self, counts: Sequence[int], strides: Sequence[int]) -> Array:
        """How much of what each row reads runs at other strides, times how far apart, relative to what was measured."""
        return self._read_R(counts, strides, lambda reader, owner: abs(reader - owner))

    def _read_R(self, counts: Sequence[int], strides: Sequence[int], cost: Callable[[int, int], float]) -> Array:
        """For each row the sum over all other agents of their share of the picture times a cost of both strides."""
        ends = np.cumsum([0, *counts])
        integral = np.concatenate(([0.0], np.cumsum(self.weights_R))) / self.row_count
        shares_A, strides_A = integral[ends[1:]] - integral[ends[:-1]], np.array(strides)
        kinds = sorted(set(strides))
        share_K = [float(shares_A[strides_A == kind].sum()) for kind in kinds]
        read_A = np.zeros(len(shares_A))
        for reader in kinds:
            seen = sum(cost(reader, owner) * share for owner, share in zip(kinds, share_K, strict=True))
            own_A = shares_A * cost(reader, reader)
            read_A[strides_A == reader] = (seen - own_A)[strides_A == reader]
        return np.repeat(read_A / MEASURED_SHARE, counts)

    def jumps_D(self, begin: int, end: int, stride: int) -> Array:
        """Exposure of rows that run some steps at a stride."""
        if stride == 1:
            return np.zeros(self.calibration.size)
        pairs = [k for k in range(begin, min(end, self.steps) - 1) if (k - begin) % stride != stride - 1]
        following = [k for k in pairs if k >= begin + stride]
        return (self.pairs_MD[pairs].sum(axis=0) + self.following_MD[following].sum(axis=0)) * stride / 2

    def following_D(self, begin: int, stride: int) -> Array:
        """What the first jump of such a run leaves beyond that where the step before it was a jump as well."""
        pairs = range(begin, min(begin + stride, self.steps) - 1)
        return self.following_MD[pairs].sum(axis=0) * stride / 2

    def cell_products(self, cells: Cells, rest_begin: int, strides: tuple[int, ...]) -> CellProducts:
        """Products of what rows can be exposed to in cells of steps; kept, since the gangs of a search share them.

        Args:
            cells: in order.
            rest_begin: first of the steps that run at full rate to the end.
            strides: above 1, that rows may have in cells.
        """
        key = (cells, rest_begin, strides)
        if key not in self._cell_products:
            self._cell_products[key] = self._products_of(cells, rest_begin, strides)
        return self._cell_products[key]

    @cached_property
    def _cell_products(self) -> dict[tuple[Cells, int, tuple[int, ...]], CellProducts]:
        return {}

    def _products_of(self, cells: Cells, rest_begin: int, strides: tuple[int, ...]) -> CellProducts:
        ways = [
            [parts_MD[begin:end].sum(axis=0) for begin, end in cells] for parts_MD in (self.stale_MD, self.unequal_MD)
        ]
        for stride in strides:
            ways.append([self.jumps_D(begin, end, stride) for begin, end in cells])
            ways.append([self.following_D(begin, stride) for begin, _ in cells])
        exposures_TND = np.array(ways).reshape(len(ways), len(cells), self.calibration.size)
        rest_D = self.stale_MD[rest_begin:].sum(axis=0)
        spread_TND = exposures_TND @ self.products_DD
        return CellProducts(
            pairs_TTNN=np.einsum("tnd,umd->tunm", spread_TND, exposures_TND, optimize=True),
            rest_TN=spread_TND @ rest_D,
            rest_mse=float(rest_D @ self.products_DD @ rest_D),
        )

    def exposures_RD(self, segment: Segment) -> Array:
        """Exposures of all rows, top of the picture first, in one segment."""
        held = sorted((a for a in segment.assignments if a.rows.count), key=lambda a: a.rows)
        counts, strides = [a.rows.count for a in held], [a.stride for a in held]
        if segment.exchange is Exchange.SYNCHRONOUS:
            return np.zeros((self.row_count, self.calibration.size))
        window_D = self.stale_MD[segment.begin_step : segment.end_step].sum(axis=0)
        exposure_RD: Array = self.stale_R(counts, strides)[:, None] * window_D
        if len(set(strides)) > 1:
            unequal_D = self.unequal_MD[segment.begin_step : segment.end_step].sum(axis=0)
            exposure_RD += self.unequal_R(counts, strides)[:, None] * unequal_D
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
def _distortion(calibration: Calibration, steps: int, row_count: int) -> Distortion:
    """The prediction for pictures of one height and length: the arrays that it keeps serve many searches."""
    return Distortion(calibration=calibration, steps=steps, row_count=row_count)


def distortion_of(request: PlanRequest) -> Distortion | None:
    """The prediction for a request's picture, or None where its model and sampler are not calibrated."""
    image = request.image
    calibration = nearest(request.facts.calibrations, image.sampler.value, image.steps)
    return None if calibration is None else _distortion(calibration, image.steps, request.row_count)
