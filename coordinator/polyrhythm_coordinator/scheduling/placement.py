"""Where reduced steps go: the fastest order of segment kinds whose predicted picture stays within a quality budget.

The steps after the warm-up are cut into **cells** of so many fine steps that all members meet again. Each cell runs
one **kind** of steps: full rate, some strides, or a merged step for everybody. The sum of a placement's error vectors
is linear in the features of its cells, so its mean square is a quadratic form over cells and features, computed once.
Few cells are searched exhaustively; of many, blocks of neighbours first and then single cells.

Knows rows and seconds only as numbers. Shape letters: K kinds, F features of a cell, N cells, X placements, R rows, D
disturbances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from polyrhythm_coordinator.scheduling.distortion import Distortion

Array = NDArray[np.float64]
Placement = tuple[int, ...]
"""The kind of each cell; kind 0 is full rate."""

REFINEMENTS_MAX = 24
"""Single cells changed after the search over blocks, at most."""


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

    @cached_property
    def _patterns(self) -> Array:
        """Which rows each feature exposes ``(2 F, R)``: how stale what they read is, and whether they jump.

        The features of a cell are its kind, and for each reduced kind that its rows jump there after a jump.
        """
        distortion = self.distortion
        patterns: list[Array] = []
        for kind in self.kinds:
            stale_R = distortion.stale_R(kind.counts, kind.strides) * float(kind.displaced)
            jumps_R = np.repeat([float(stride > 1) for stride in kind.strides], kind.counts)
            patterns += [stale_R, jumps_R]
        for jumps_R in patterns[3::2]:
            patterns += [np.zeros_like(jumps_R), jumps_R]  # the same rows where they jump for a second time
        return np.array(patterns)

    @cached_property
    def _places(self) -> Array:
        """What these rows are exposed to in each cell ``(N, 2 F, D)``.

        Rows of a kind with several strides above 1 count as jumping by the largest: the plan's own prediction is exact.
        """
        distortion, steps = self.distortion, self.cell_steps
        places: list[Array] = []
        for kind in self.kinds:
            reduced = max(kind.strides)
            places += [
                distortion.stale_ND(self.cell_begins, steps),
                distortion.jumps_ND(self.cell_begins, steps, reduced),
            ]
        for kind in self.kinds[1:]:
            following_ND = distortion.following_ND(self.cell_begins, max(kind.strides))
            places += [np.zeros_like(following_ND), following_ND]
        return np.stack(places, axis=1)

    @cached_property
    def _overlaps(self) -> Array:
        """Weighted products of two patterns ``(2 F, 2 F)``."""
        return (self._patterns * self.distortion.weights_R) @ self._patterns.T / self.distortion.row_count

    @cached_property
    def _rest_D(self) -> Array:
        """Exposure of the steps after the last cell."""
        return self.distortion.stale_MD[self.distortion.steps - self.rest_steps :].sum(axis=0)

    @cached_property
    def constant(self) -> float:
        """Mean square that the steps after the last cell leave by themselves."""
        if not self.rest_steps:
            return 0.0
        return float(self._rest_D @ self.distortion.products_DD @ self._rest_D * self._overlaps[0, 0])

    @cached_property
    def form(self) -> tuple[Array, Array]:
        """Linear ``(N F)`` and quadratic ``(N F, N F)`` parts of the mean square of a placement."""
        features, cells = 2 * len(self.kinds) - 1, len(self.cell_begins)
        spread = self._places @ self.distortion.products_DD
        both, disturbances = cells * 2 * features, spread.shape[2]
        products = spread.reshape(both, disturbances) @ self._places.reshape(both, disturbances).T
        quadratic = products.reshape(cells, 2 * features, cells, 2 * features) * self._overlaps[None, :, None, :]
        quadratic = (
            quadratic.reshape(cells, features, 2, cells, features, 2).sum(axis=(2, 5)).reshape(cells * features, -1)
        )
        rest_D = self._rest_D * float(self.rest_steps > 0)
        linear = 2 * (spread @ rest_D) * self._overlaps[0]
        return linear.reshape(cells, features, 2).sum(axis=2).ravel(), quadratic

    def sum_mse_X(self, placements: NDArray[np.int64]) -> Array:
        """Mean square of the summed error vectors of placements ``(X, N)``."""
        linear, quadratic = self.form
        chosen = _features(placements, len(self.kinds))
        return self.constant + chosen @ linear + ((chosen @ quadratic) * chosen).sum(axis=1)

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

    def fastest(self, budget_mse: float, *, blocks_max: int) -> Placement | None:
        """The fastest placement over blocks of cells within the budget; None where there is none."""
        cells, kinds = len(self.cell_begins), len(self.kinds)
        if not cells:
            return () if self.constant <= budget_mse else None
        blocks = min(cells, blocks_max)
        block_of_N = np.arange(cells) * blocks // cells
        placements_XN = _all_placements(blocks, kinds)[:, block_of_N]
        feasible_X = np.flatnonzero(self.sum_mse_X(placements_XN) <= budget_mse)
        if not len(feasible_X):
            return None
        rates_K = np.array([k.step_s + k.boundary_s / self.beat_steps for k in self.kinds]) * self.cell_steps
        seconds_X = rates_K[placements_XN[feasible_X]].sum(axis=1)
        best = feasible_X[np.argsort(seconds_X, kind="stable")[:REFINEMENTS_MAX]]
        candidates = [tuple(int(kind) for kind in placements_XN[index]) for index in best]
        return min(candidates, key=self.seconds)

    def refined(self, placement: Placement, budget_mse: float) -> Placement:
        """Changes single cells, and pairs of them the other way round, as long as that saves time."""
        seconds = self.seconds(placement)
        for _ in range(REFINEMENTS_MAX):
            neighbours = _neighbours(placement, len(self.kinds))
            if not neighbours:
                break
            faster = [n for n in neighbours if self.seconds(n) < seconds * (1 - 1e-9)]
            if not faster:
                break
            mse_X = self.sum_mse_X(np.array(faster))
            within = [n for n, mse in zip(faster, mse_X, strict=True) if mse <= budget_mse]
            if not within:
                break
            placement = min(within, key=self.seconds)
            seconds = self.seconds(placement)
        return placement


def within(placements: Placements, placement: Placement, budget_mse: float) -> bool:
    """Whether one placement keeps the budget."""
    if not placement:
        return placements.constant <= budget_mse
    return bool(placements.sum_mse_X(np.array([placement]))[0] <= budget_mse)


@lru_cache(maxsize=64)
def _all_placements(cells: int, kinds: int) -> NDArray[np.int64]:
    """Every choice of a kind for each cell, ``(kinds ** cells, cells)``."""
    return np.indices((kinds,) * cells).reshape(cells, -1).T.astype(np.int64)


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
