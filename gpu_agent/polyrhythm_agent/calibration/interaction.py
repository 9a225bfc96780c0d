"""What disturbances come to together, as the planner predicts it, and the fit of what windows alone do not say. Pure.

Long runs of stale activations or of merged steps can cost more than their windows and places, each measured from a
fresh start (the statistics of group norms drift, and a solver errs more where it has erred), and many errors together
less than their sum.

Shape letters: D disturbances, J joint probes, T triples of multiples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import inf

import numpy as np
from numpy.typing import NDArray

from polyrhythm.calibration import interpolated, mean_age, saturated
from polyrhythm_agent.calibration.probes import Grid, joints

Array = NDArray[np.float64]

MSE_FLOOR = 1e-12
"""Below this an error is rounding."""

INDIFFERENT = 0.05
"""What a multiple may cost in misses: without need there is none."""

_SATURATIONS = tuple(10.0 ** (exponent / 10) for exponent in range(-60, 41))
"""Mean squared errors of latents of the order of one; the largest stands for hardly any saturation."""
_TIMES = tuple(10.0 ** (exponent / 40) for exponent in range(25))


def jump_exposures(grid: Grid, products_DD: Array, merges: Sequence[int]) -> Array:
    """Exposure of rows that jump over two steps at some steps."""
    windows, places = len(grid.stale_begin_steps), len(grid.merge_steps)
    exposures_D = np.zeros(len(products_DD))

    def add(step: int, measured: Sequence[int], before: int) -> None:
        part = products_DD[before:, before:]
        for index, times in interpolated(step, measured, lambda i, j: float(part[i, j])):
            exposures_D[before + index] += times

    for step in merges:
        add(step, grid.merge_steps, windows)
        if grid.following_steps and step - 2 in merges:
            add(step, grid.following_steps, windows + places)
    return exposures_D


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """How disturbances work together.

    Attributes:
        saturation_mse: where errors begin to stay behind their sum.
        jump_times: how often the errors of merged steps count in longer runs of them.
        stale_times: how often the errors of windows count in longer runs of stale activations.
        unequal_times: the same of unequal strides.
    """

    saturation_mse: float
    jump_times: float
    stale_times: float
    unequal_times: float

    def counts(self, grid: Grid, size: int) -> Array:
        """How often each of so many disturbances counts."""
        weights_D = np.full(size, self.jump_times)
        weights_D[: len(grid.stale_begin_steps)] = self.stale_times
        weights_D[size - len(grid.unequal_begin_steps) :] = self.unequal_times
        return weights_D


def joint_products(grid: Grid, products_DD: Array) -> Array:
    """Products ``(J, 3, 3)`` of what each joint probe holds, over its two halves: jumps, staleness, unequal strides."""
    size = len(products_DD)
    found: list[Array] = []
    for joint in joints(grid):
        halves: list[Array] = []
        for own, other in (joint.strides, joint.strides[::-1]):
            parts = np.zeros((3, size))
            parts[0] = jump_exposures(grid, products_DD, joint.merges) * float(own > 1)
            if joint.stale:
                parts[1, 1 : len(grid.stale_begin_steps)] = mean_age(own, other)
                parts[2, size - len(grid.unequal_begin_steps) + 1 :] = float(own != other)
            halves.append(parts @ products_DD @ parts.T)
        found.append(np.mean(halves, axis=0))
    return np.array(found)


def fit_interaction(grid: Grid, products_DD: Array, measured: Sequence[float]) -> Interaction:
    """The parameters of least absolute error in decibels over the joint probes, without multiples that hardly help.

    Args:
        grid: that was measured.
        products_DD: of the disturbances.
        measured: what the joint probes came to.
    """
    products_J33 = joint_products(grid, products_DD)
    times_T3 = np.array(list(product(_TIMES, repeat=3)))
    sums_TJ = np.maximum(np.einsum("ta,jab,tb->tj", times_T3, products_J33, times_T3), MSE_FLOOR)
    logs_J = np.log(np.maximum(np.asarray(measured), MSE_FLOOR))
    cost_T = INDIFFERENT * np.log(times_T3).sum(axis=1)
    best, least = Interaction(saturation_mse=_SATURATIONS[-1], jump_times=1.0, stale_times=1.0, unequal_times=1.0), inf
    for saturation_mse in _SATURATIONS:
        miss_T = cost_T + np.abs(np.log(saturated(sums_TJ, saturation_mse)) - logs_J).sum(axis=1)
        found = int(miss_T.argmin())
        if miss_T[found] < least:
            least = float(miss_T[found])
            jump_times, stale_times, unequal_times = map(float, times_T3[found])
            best = Interaction(
                saturation_mse=saturation_mse,
                jump_times=jump_times,
                stale_times=stale_times,
                unequal_times=unequal_times,
            )
    return best
