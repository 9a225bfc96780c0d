"""Where reduced steps go: the fastest order of segment kinds whose predicted picture stays within a quality budget.

The steps after the warm-up are cut into **cells** of so many fine steps that all members meet again. Each cell runs
one **kind** of steps: full rate, some strides, or a merged step for everybody. The sum of a placement's error vectors
is linear in the features of its cells, so its mean square is a quadratic form over cells and features, computed once,
and so is the share of it that each pair of kinds of disturbances has. What a placement comes to on a typical picture
tells most of those that are not good enough from all others; of these, the fastest are held against all pictures.
Few cells are searched exhaustively; of many, blocks of neighbours first and then single cells.

Knows rows and seconds only as numbers. Shape letters: K kinds of cells, F features of a cell, N cells, X placements, R
rows, T ways in which rows are exposed, Q pairs of kinds of disturbances.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby, pairwise
from math import inf

import numpy as np
from numpy.typing import NDArray

from polyrhythm.model.calibration import STALE
from polyrhythm_coordinator.scheduling.planning.distortion import PAIRS, Cells, Distortion, Expected, pair_of

Array = NDArray[np.float64]
Placement = tuple[int, ...]
"""The kind of each cell; kind 0 is full rate."""

REFINEMENTS_MAX = 24
"""Single cells changed after the search over blocks, at most."""
TYPICAL_MARGIN_DB = 1.5
"""By how much a placement may fall short on a typical picture and still be held against all of them."""
CHUNK = 64
"""Placements that are held against all pictures at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """How good a plan has to be.

    Attributes:
        expected: over pictures.
        typical_db: of a typical picture, about.
    """

    expected: Expected
    typical_db: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One way to run a cell.

    Attributes:
        strides: a member each.
        counts: rows of each member.
        step_s: seconds of a fine step, boundaries not included.
        boundary_s: seconds of a boundary.
        displaced: whether other agents' rows are stale.
    """

    strides: tuple[int, ...]
    counts: tuple[int, ...]
    step_s: float
    boundary_s: float
    displaced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The mean square of summed error vectors as a function of a placement's features, by pairs of kinds.

    Attributes:
        constant_Q: of a placement without features.
        linear_Q: a number a feature, cell by cell, for each pair.
        quadratic_Q: for each two of them.
    """

    constant_Q: Array
    linear_Q: Array
    quadratic_Q: Array

    def sums_XQ(self, features: Array) -> Array:
        """Mean square of placements, of each its features."""
        spread = np.einsum("xi,qij->xqj", features, self.quadratic_Q, optimize=True)
        return self.constant_Q + features @ self.linear_Q.T + np.einsum("xqj,xj->xq", spread, features)

    def typical_sums_X(self, features: Array) -> Array:
        """The same of all pairs together, a picture's as touchy as is typical."""
        linear = features @ self.linear_Q.sum(axis=0)
        return self.constant_Q.sum() + linear + np.einsum("xi,xi->x", features @ self.quadratic_Q.sum(axis=0), features)


@dataclass(frozen=True, kw_only=True)  # without slots: the arrays below are computed once and kept
class Placements:
    """All placements of one gang's kinds on the cells of one picture.

    Attributes:
        distortion: predicts errors.
        kinds: the first one is full rate, and in each further one at least the same rows jump as in the one before.
        cell_begins: first fine step of each cell.
        cell_steps: fine steps of a cell.
        rest_steps: left over after the last cell, at full rate.
        beat_steps: fine steps between two boundaries.
        move_s: seconds that a change between kinds of different rows costs beyond its boundary.
    """

    distortion: Distortion
    kinds: tuple[Kind, ...]
    cell_begins: tuple[int, ...]
    cell_steps: int
    rest_steps: int
    beat_steps: int
    move_s: float = 0.0

    @property
    def cells(self) -> Cells:
        """First and last step of each cell."""
        return tuple((begin, begin + self.cell_steps) for begin in self.cell_begins)

    @cached_property
    def _reduced_strides(self) -> tuple[int, ...]:
        """Of the kinds, the largest of each: all rows that jump in it count as jumping so far."""
        return tuple(sorted({max(kind.strides) for kind in self.kinds} - {1}))

    @cached_property
    def _overlaps_FFTT(self) -> Array:
        """Weighted products of the rows that two features expose in two ways: to staleness, jumps and so on.

        The features of a cell are its kind, and for each reduced kind that its rows jump there after a jump.
        """
        distortion, kinds = self.distortion, self.kinds
        ways = 2 + 2 * len(self._reduced_strides)
        rows_FTR = np.zeros((2 * len(kinds) - 1, ways, distortion.row_count))
        for index, kind in enumerate(kinds):
            if kind.displaced:
                rows_FTR[index, 0] = distortion.stale_R(kind.counts, kind.strides)
                rows_FTR[index, 1] = distortion.unequal_R(kind.counts, kind.strides)
            if max(kind.strides) > 1:
                jumps_R = np.repeat([float(stride > 1) for stride in kind.strides], kind.counts)
                way = 2 + 2 * self._reduced_strides.index(max(kind.strides))
                rows_FTR[index, way] = jumps_R
                rows_FTR[len(kinds) - 1 + index, way + 1] = jumps_R
        flat = rows_FTR.reshape(-1, distortion.row_count)
        products = (flat * distortion.weights_R) @ flat.T / distortion.row_count
        return products.reshape(len(rows_FTR), ways, len(rows_FTR), ways).transpose(0, 2, 1, 3)

    def form(self, cells: Cells) -> Form:
        """The mean square of placements on some cells, which may be of different lengths."""
        rest_begin = self.distortion.steps - self.rest_steps
        products = self.distortion.cell_products(cells, rest_begin, self._reduced_strides)
        overlaps_FFTT = self._overlaps_FFTT
        features, count = overlaps_FFTT.shape[1], len(cells)
        ways = overlaps_FFTT.shape[2]
        pairs_Q = products.pairs_QTTNN.reshape(len(PAIRS), ways * ways, count * count)
        quadratic = overlaps_FFTT.reshape(features * features, ways * ways) @ pairs_Q
        quadratic = quadratic.reshape(len(PAIRS), features, features, count, count)
        linear = overlaps_FFTT[:, 0, :, 0] @ products.rest_QTN
        constant_Q = np.zeros(len(PAIRS))
        constant_Q[pair_of(STALE, STALE)] = products.rest_mse * overlaps_FFTT[0, 0, 0, 0]
        return Form(
            constant_Q=constant_Q,
            linear_Q=linear.transpose(0, 2, 1).reshape(len(PAIRS), count * features),
            quadratic_Q=quadratic.transpose(0, 3, 1, 4, 2).reshape(len(PAIRS), count * features, count * features),
        )

    @cached_property
    def _cell_form(self) -> Form:
        return self.form(self.cells)

    def sums_XQ(self, placements: NDArray[np.int64]) -> Array:
        """Mean square of the summed error vectors of placements ``(X, N)``, by pairs of kinds."""
        return self._cell_form.sums_XQ(_features(placements, len(self.kinds)))

    def reach_X(self, placements: Sequence[Placement], floor: Floor) -> NDArray[np.bool_]:
        """Which placements are good enough."""
        return self.distortion.reach_X(self.sums_XQ(np.array(placements, dtype=np.int64)), floor.expected)

    def seconds(self, placement: Placement) -> float:
        """Of all cells and the rest, boundaries included."""
        total, runs = 0.0, [[kind, len(list(run)) * self.cell_steps] for kind, run in groupby(placement)]
        if self.rest_steps:
            if runs and runs[-1][0] == 0:
                runs[-1][1] += self.rest_steps
            else:
                runs.append([0, self.rest_steps])
        for index, steps in runs:
            kind = self.kinds[index]
            total += steps * kind.step_s - (-steps // self.beat_steps) * kind.boundary_s
        for (before, _), (after, _) in pairwise(runs):
            total += self.move_s * (self.kinds[before].counts != self.kinds[after].counts)
        return total

    def fastest(self, floor: Floor, *, blocks_max: int) -> Placement | None:
        """The fastest placement over blocks of cells that is good enough; None where there is none."""
        cells, kinds = len(self.cell_begins), len(self.kinds)
        if not cells:
            return () if self.reach_X([()], floor)[0] else None
        blocks = _blocks(cells, min(cells, blocks_max))
        edges = [self.cells[first][0] for first, _ in blocks]
        form = self.form(tuple(zip(edges, [*edges[1:], self.cells[-1][1]], strict=True)))
        placements_XB, features = _all_placements(len(blocks), kinds)
        # Boundaries come whole, and cost something at the end as well: no placement takes less than this.
        rates_K = np.array([k.step_s + k.boundary_s / self.beat_steps for k in self.kinds])
        seconds_X = _kind_cells(blocks, kinds) @ (rates_K * self.cell_steps) + self.rest_steps * self.kinds[0].step_s
        typical_X = self.distortion.typical_psnr_X(form.typical_sums_X(features))
        near_X = np.flatnonzero(typical_X >= floor.typical_db - TYPICAL_MARGIN_DB)
        best, best_s, tried = None, inf, 0
        for index in self._good_enough(near_X[np.argsort(seconds_X[near_X], kind="stable")], form, features, floor):
            if seconds_X[index] >= best_s or tried == REFINEMENTS_MAX:
                break
            chosen = zip(placements_XB[index].tolist(), blocks, strict=True)
            placement = tuple(kind for kind, (first, last) in chosen for _ in range(first, last))
            seconds, tried = self.seconds(placement), tried + 1
            if seconds < best_s:
                best, best_s = placement, seconds
        return best

    def _good_enough(self, candidates_X: NDArray[np.intp], form: Form, features: Array, floor: Floor) -> Iterator[int]:
        """Those of some placements that are good enough on all pictures, in their order."""
        for begin in range(0, len(candidates_X), CHUNK):
            chunk_X = candidates_X[begin : begin + CHUNK]
            reach_X = self.distortion.reach_X(form.sums_XQ(features[chunk_X]), floor.expected)
            yield from chunk_X[reach_X].tolist()

    def refined(self, placement: Placement, floor: Floor) -> Placement:
        """Changes single cells, and pairs of them the other way round, as long as that saves time."""
        seconds = self.seconds(placement)
        for _ in range(REFINEMENTS_MAX):
            neighbours = _neighbours(placement, len(self.kinds))
            if not neighbours:
                break
            faster = [n for n in neighbours if self.seconds(n) < seconds * (1 - 1e-9)]
            if not faster:
                break
            good = [n for n, enough in zip(faster, self.reach_X(faster, floor), strict=True) if enough]
            if not good:
                break
            placement = min(good, key=self.seconds)
            seconds = self.seconds(placement)
        return placement


def _blocks(cells: int, blocks: int) -> tuple[tuple[int, int], ...]:
    """So many runs of cells of about one length: the first cell of each and the last one, exclusive."""
    edges = [-(-index * cells // blocks) for index in range(blocks + 1)]
    return tuple(pairwise(edges))


@lru_cache(maxsize=64)
def _all_placements(cells: int, kinds: int) -> tuple[NDArray[np.int64], Array]:
    """Every choice of a kind for each cell ``(kinds ** cells, cells)``, and their features."""
    placements = np.indices((kinds,) * cells).reshape(cells, -1).T.astype(np.int64)
    return placements, _features(placements, kinds)


@lru_cache(maxsize=64)
def _kind_cells(blocks: tuple[tuple[int, int], ...], kinds: int) -> Array:
    """How many cells are of each kind, by choices of a kind for each block ``(kinds ** blocks, kinds)``."""
    lengths = np.array([last - first for first, last in blocks])
    placements, _ = _all_placements(len(blocks), kinds)
    return np.stack([(placements == kind) @ lengths for kind in range(kinds)], axis=1).astype(np.float64)


def _features(placements: NDArray[np.int64], kinds: int) -> Array:
    """Kind of each cell, and which reduced kind's rows jump in it after a jump in the one before, as ones and zeros.

    Kinds are ordered by the rows that jump in them, so what two neighbours have in common is the smaller one.
    """
    common = np.minimum(placements[:, 1:], placements[:, :-1])
    common = np.concatenate((np.zeros_like(placements[:, :1]), common), axis=1)
    own = placements[:, :, None] == np.arange(kinds)
    follows = common[:, :, None] == np.arange(1, kinds)
    return np.concatenate((own, follows), axis=2).reshape(len(placements), -1).astype(np.float64)


def _neighbours(placement: Sequence[int], kinds: int) -> list[Placement]:
    """Placements that differ in one cell, or in the two cells at the edges of a run."""
    found: list[Placement] = [
        (*placement[:cell], other, *placement[cell + 1 :])
        for cell, kind in enumerate(placement)
        for other in range(kinds)
        if other != kind
    ]
    edges = [cell for cell in range(1, len(placement)) if placement[cell] != placement[cell - 1]]
    for cell in edges:
        for far in edges:
            moved = list(placement)
            moved[cell] = placement[cell - 1]
            moved[far - 1] = placement[far]
            found.append(tuple(moved))
    return list(dict.fromkeys(found))
