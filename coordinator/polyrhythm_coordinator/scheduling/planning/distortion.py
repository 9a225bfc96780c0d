"""Predicts how far a plan's picture is from that of a single device, from what calibrations say of every step.

Owns the formula (this project's own). Each row collects **exposures**: to every step at which what it reads is stale,
and to every step at which it jumped. A disturbed step of exposure c leaves c times its error vector, errors add as
vectors, and sums fall behind where they are large:

    sum = mean over rows r of  weight_r * c_r . products . c_r        mse = saturated(sum)

* Staleness: a row whose agent reads the share v of the picture from others, ``age`` fine steps old on average, is
  exposed v * age / (1/2): two equal halves at stride 1 are what was measured. Shares are weighted like the rows, since
  what does not change cannot be stale. More seams than one count with a measured power beyond that.
  What is read at another stride than it was computed at leaves what was measured of unequal strides beyond that.
* A jump over two fine steps is a merge at its place, exposure 1. One that follows another also leaves what was measured
  of two in a row beyond both alone. A jump over s steps counts as s - 1 jumps over two, each s / 2 times.
* Pictures differ: on each measured picture the errors of each kind (stale, early jump, later jump, unequal) are so many
  times those of a typical one. So a plan has a PSNR on each of them; their mean is what is predicted, and their tenth
  percentile says what the touchiest pictures come to.

Sums are therefore kept apart by pairs of kinds, ten numbers a plan (``PAIRS``); a product of two different kinds
counts both ways.

Shape letters: R row units, A agents, S steps in one of four ways (``step_errors``), M fine steps, N cells of steps, T
ways in which a cell's rows can be exposed, P measured pictures, Q pairs of kinds, X plans.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations_with_replacement
from typing import cast

import numpy as np
from numpy.typing import NDArray

from polyrhythm.model.calibration import (
    IDENTICAL_PSNR_DB,
    KINDS,
    STALE,
    Calibration,
    crowding,
    mean_age,
    read_of_others,
    saturated,
    strides_apart,
)
from polyrhythm.plan.plan import Exchange, Plan, Segment
from polyrhythm_coordinator.scheduling.planning.calibration_trust import trusted
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.row_partition import equal_rows
from polyrhythm_coordinator.scheduling.planning.step_errors import (
    JUMPED,
    JUMPED_AGAIN,
    READ_LATE,
    READ_UNEQUAL,
    WAYS,
    StepErrors,
    kinds_S,
    step_errors,
)

Array = NDArray[np.float64]

PAIRS = tuple(combinations_with_replacement(range(KINDS), 2))
"""Of kinds, in the order of sums."""

LOW_QUANTILE = 0.1
"""Of pictures, which a low PSNR is exceeded by all others but."""

CELL_PRODUCTS_MAX = 64
"""Kept of one height and length of picture: a search asks for a few, and megabytes add up over resumed pictures."""

Cells = tuple[tuple[int, int], ...]
"""First fine step of each and last one, exclusive."""


def pair_of(one: int, other: int) -> int:
    """Index of the pair of two kinds."""
    return PAIRS.index((min(one, other), max(one, other)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """PSNR of a plan's pictures, in decibels.

    Attributes:
        mean_db: over pictures.
        low_db: of the touchiest tenth the best one.
    """

    mean_db: float
    low_db: float

    def less(self, loss_db: float) -> Expected:
        """So much worse."""
        return Expected(mean_db=self.mean_db - loss_db, low_db=self.low_db - loss_db)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellProducts:
    """Products of the errors of what rows can be exposed to in cells of steps, whoever holds them.

    A cell's rows can be exposed to staleness, to unequal strides, and for each stride to jumps and to what the first
    jump leaves beyond itself where it follows another: T is 2, and 2 more a stride.

    Attributes:
        pairs_QTTNN: of two of these in two cells, by pairs of kinds.
        rest_QTN: of each with the staleness of the steps that are left, both ways.
        rest_mse: of that with itself.
    """

    pairs_QTTNN: Array
    rest_QTN: Array
    rest_mse: float


@dataclass(frozen=True, kw_only=True)  # without slots: the arrays below are computed once and kept
class Distortion:
    """The prediction for pictures of one height and length.

    Attributes:
        errors: of every step.
        row_count: row units of the picture.
    """

    errors: StepErrors
    row_count: int

    @classmethod
    def of(cls, *calibrations: Calibration, steps: int, row_count: int) -> Distortion:
        """The prediction from one calibration, or from a shorter and a longer grid."""
        return cls(errors=step_errors(calibrations, steps), row_count=row_count)

    @property
    def steps(self) -> int:
        """Fine steps of the picture."""
        return self.errors.steps

    @cached_property
    def weights_R(self) -> Array:
        """How errors lie over the rows, of mean 1."""
        measured = self.errors.row_weights
        # The integral of the measured weights, read off at the edges of this picture's rows.
        edges = np.linspace(0.0, 1.0, len(measured) + 1)
        integral = np.concatenate(([0.0], np.cumsum(measured))) / measured.sum()
        wanted = np.linspace(0.0, 1.0, self.row_count + 1)
        integral_E = cast("Array", np.interp(wanted, edges, integral))
        return (integral_E[1:] - integral_E[:-1]) * self.row_count

    def stale_R(self, counts: Sequence[int], strides: Sequence[int]) -> Array:
        """How stale what each row reads is, relative to what was measured; rows in order of the agents."""
        return self._read_R(counts, strides, mean_age)

    def unequal_R(self, counts: Sequence[int], strides: Sequence[int]) -> Array:
        """How much of what each row reads runs at other strides, times how far apart, relative to what was measured."""
        return self._read_R(counts, strides, strides_apart)

    def _read_R(self, counts: Sequence[int], strides: Sequence[int], cost: Callable[[int, int], float]) -> Array:
        ends = np.cumsum([0, *counts])
        integral = np.concatenate(([0.0], np.cumsum(self.weights_R))) / self.row_count
        shares = (integral[ends[1:]] - integral[ends[:-1]]).tolist()
        times = crowding(sum(count > 0 for count in counts), self.errors.seam_power)
        return np.repeat(read_of_others(shares, strides, cost), counts) * times

    def way_S(self, way: int, begin: int, end: int) -> Array:
        """Exposure, once, to the steps from one to another in one way."""
        exposure_S = np.zeros(WAYS * self.steps)
        exposure_S[way * self.steps + begin : way * self.steps + end] = 1.0
        return exposure_S

    def jumps_S(self, begin: int, end: int, stride: int) -> Array:
        """Exposure of rows that run some steps at a stride."""
        exposure_S = np.zeros(WAYS * self.steps)
        if stride > 1:
            pairs = [k for k in range(begin, min(end, self.steps) - 1) if (k - begin) % stride != stride - 1]
            for step in pairs:
                exposure_S[JUMPED * self.steps + step] = stride / 2
                exposure_S[JUMPED_AGAIN * self.steps + step] = stride / 2 if step >= begin + stride else 0.0
        return exposure_S

    def following_S(self, begin: int, stride: int) -> Array:
        """What the first jump of such a run leaves beyond that where the step before it was a jump as well."""
        return self.way_S(JUMPED_AGAIN, begin, min(begin + stride, self.steps) - 1) * stride / 2

    def cell_products(self, cells: Cells, rest_begin: int, strides: tuple[int, ...]) -> CellProducts:
        """Products of what rows can be exposed to in cells of steps; the last ones are kept, since gangs share them.

        Args:
            cells: in order.
            rest_begin: first of the steps that run at full rate to the end.
            strides: above 1, that rows may have in cells.
        """
        return self._kept_products(cells, rest_begin, strides)

    @cached_property
    def _kept_products(self) -> Callable[[Cells, int, tuple[int, ...]], CellProducts]:
        return lru_cache(maxsize=CELL_PRODUCTS_MAX)(self._products_of)

    def _products_of(self, cells: Cells, rest_begin: int, strides: tuple[int, ...]) -> CellProducts:
        ways = [[self.way_S(way, begin, end) for begin, end in cells] for way in (READ_LATE, READ_UNEQUAL)]
        for stride in strides:
            ways.append([self.jumps_S(begin, end, stride) for begin, end in cells])
            ways.append([self.following_S(begin, stride) for begin, _ in cells])
        exposures_TNS = np.array(ways).reshape(len(ways), len(cells), WAYS * self.steps)
        rest_S = self.way_S(READ_LATE, rest_begin, self.steps)
        products_SS, of_kind = self.errors.products_SS, self._of_kind
        pairs_QTTNN = np.zeros((len(PAIRS), len(ways), len(ways), len(cells), len(cells)))
        rest_QTN = np.zeros((len(PAIRS), len(ways), len(cells)))
        for kind, own_S in enumerate(of_kind):
            spread_TNS = exposures_TNS[:, :, own_S] @ products_SS[own_S]
            rest_QTN[pair_of(kind, STALE)] += 2 * spread_TNS @ rest_S
            for other, other_S in enumerate(of_kind):
                pairs_TNTN = np.tensordot(spread_TNS[:, :, other_S], exposures_TNS[:, :, other_S], axes=(2, 2))
                pairs_QTTNN[pair_of(kind, other)] += pairs_TNTN.transpose(0, 2, 1, 3)
        return CellProducts(pairs_QTTNN=pairs_QTTNN, rest_QTN=rest_QTN, rest_mse=float(rest_S @ products_SS @ rest_S))

    @cached_property
    def _of_kind(self) -> tuple[NDArray[np.bool_], ...]:
        """Which steps, in which ways, are of each kind."""
        return tuple(kinds_S(self.steps) == kind for kind in range(KINDS))

    def exposures_RS(self, segment: Segment) -> Array:
        """Exposures of all rows, top of the picture first, in one segment."""
        held = sorted((a for a in segment.assignments if a.rows.count), key=lambda a: a.rows)
        counts, strides = [a.rows.count for a in held], [a.stride for a in held]
        begin, end = segment.begin_step, segment.end_step
        if segment.exchange is Exchange.SYNCHRONOUS:
            return np.zeros((self.row_count, WAYS * self.steps))
        exposure_RS: Array = self.stale_R(counts, strides)[:, None] * self.way_S(READ_LATE, begin, end)
        if len(set(strides)) > 1:
            exposure_RS += self.unequal_R(counts, strides)[:, None] * self.way_S(READ_UNEQUAL, begin, end)
        for stride in {s for s in strides if s > 1}:
            jumps_R = np.repeat([float(s == stride) for s in strides], counts)
            exposure_RS += jumps_R[:, None] * self.jumps_S(begin, end, stride)
        return exposure_RS

    def sums_of(self, exposures_RS: Array) -> Array:
        """Mean square ``(Q,)`` of the summed error vectors of a typical picture, by pairs of kinds."""
        sums_Q = np.zeros(len(PAIRS))
        for kind, own_S in enumerate(self._of_kind):
            spread_RS = exposures_RS[:, own_S] @ self.errors.products_SS[own_S]
            energy_RS = spread_RS * exposures_RS
            for other in range(kind, KINDS):
                energy_R = energy_RS[:, self._of_kind[other]].sum(axis=1)
                both = 1.0 if kind == other else 2.0
                sums_Q[pair_of(kind, other)] = both * float(energy_R @ self.weights_R) / self.row_count
        return sums_Q

    def plan_sums(self, plan: Plan) -> Array:
        """The same of a whole plan."""
        exposure_RS = np.zeros((self.row_count, WAYS * self.steps))
        before_R = np.ones(self.row_count)
        for segment in plan.segments:
            exposure_RS += self.exposures_RS(segment)
            strides_R = self._strides_R(segment)
            for stride in {s for s in segment.strides if s > 1}:
                follows_R = (before_R > 1) & (strides_R == stride)
                exposure_RS += follows_R[:, None] * self.following_S(segment.begin_step, stride)
            before_R = strides_R
        return self.sums_of(exposure_RS)

    def _strides_R(self, segment: Segment) -> Array:
        """The stride of each row's agent."""
        strides_R = np.ones(self.row_count)
        for assignment in segment.assignments:
            strides_R[assignment.rows.begin : assignment.rows.end] = assignment.stride
        return strides_R

    @cached_property
    def _touchiness_QP(self) -> Array:
        """How much of each pair's sum a picture feels."""
        times_PK = self.errors.touchiness_PK
        return np.array([times_PK[:, one] * times_PK[:, other] for one, other in PAIRS])

    def psnr_XP(self, sums_XQ: Array) -> Array:
        """PSNR of the latent on each measured picture, from the mean square of the summed error vectors of plans."""
        return self._psnr_db(sums_XQ @ self._touchiness_QP)

    def typical_psnr_X(self, sums_X: Array) -> Array:
        """The same on a picture that is as touchy as is typical."""
        return self._psnr_db(sums_X)

    def _psnr_db(self, sums: Array) -> Array:
        mse = saturated(np.maximum(sums, 0.0), self.errors.saturation_mse)
        peak = self.errors.latent_range**2
        return 10 * np.log10(peak / np.maximum(mse, peak * 10 ** (-IDENTICAL_PSNR_DB / 10)))

    def expected(self, sums_Q: Array) -> Expected:
        """What pictures come to."""
        psnr_P = self.psnr_XP(sums_Q[None])[0]
        return Expected(mean_db=float(psnr_P.mean()), low_db=float(np.quantile(psnr_P, LOW_QUANTILE)))

    def reach_X(self, sums_XQ: Array, floor: Expected) -> NDArray[np.bool_]:
        """Which plans are good enough, in the mean and on the touchiest pictures."""
        psnr_XP = self.psnr_XP(sums_XQ)
        return (psnr_XP.mean(axis=1) >= floor.mean_db) & (np.quantile(psnr_XP, LOW_QUANTILE, axis=1) >= floor.low_db)

    def plan_expected(self, plan: Plan) -> Expected:
        """Predicted PSNR of the final latent of a plan; of one that resumes, what the rest adds."""
        return self.expected(self.plan_sums(plan))

    def displaced_sums(self, agents: int, displaced_from: int) -> Array:
        """Of plain displaced parallelism: equal rows, stride 1, displaced from a step on; two agents at least."""
        counts = equal_rows(max(2, agents), self.row_count)
        stale_R = self.stale_R(counts, (1,) * len(counts))
        return self.sums_of(stale_R[:, None] * self.way_S(READ_LATE, displaced_from, self.steps))


@lru_cache(maxsize=32)
def _distortion(calibrations: tuple[Calibration, ...], steps: int, row_count: int) -> Distortion:
    """The prediction for pictures of one height and length: the arrays that it keeps serve many searches."""
    return Distortion.of(*calibrations, steps=steps, row_count=row_count)


def distortion_of(request: PlanRequest) -> Distortion | None:
    """The prediction for a request's picture, or None where its model's calibrations say nothing of such pictures."""
    found = trusted(request.image, request.facts.calibrations).calibrations
    return _distortion(found, request.image.steps, request.row_count) if found else None
