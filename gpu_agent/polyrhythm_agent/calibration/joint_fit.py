"""What disturbances come to together on each picture, and the fit of what windows and places alone do not say. Pure.

Long runs of stale activations or of merged steps can cost more than their windows and places, each measured from a
fresh start (the statistics of group norms drift, and a solver errs more where it has erred), and many errors together
less than their sum. Pictures differ in how touchy they are to each kind of disturbance.

Shape letters: D disturbances, J joint probes, K kinds of disturbances, P pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from polyrhythm.model.calibration import (
    KINDS,
    SEAM_POWER_MAX,
    STALE,
    UNEQUAL,
    interpolated,
    kind_of_jump,
    mean_age,
    read_of_others,
    saturated,
    strides_apart,
)
from polyrhythm_agent.calibration.probes import Grid, Joint, counts_of, joints

Array = NDArray[np.float64]

MSE_FLOOR = 1e-12
"""Below this an error is rounding."""

LIKE_OTHERS = 0.25
"""How much a picture's touchiness to one kind keeps to its mean over kinds, against one squared miss of a probe."""

_SATURATIONS = tuple(10.0 ** (exponent / 4) for exponent in range(-6, 9))
"""Mean squared errors of latents of the order of one; the largest stands for hardly any saturation. Much smaller ones
would explain how pictures differ by sums that all saturate, and say nothing of plans that were not measured."""
POWER_COSTS = 0.1
"""What a power of 1 counts like, as a miss: without need there is none."""
_ROUNDS, _NEWTON_STEPS = 4, 12
_DAMPING, _DIFFERENCE = 1e-3, 1e-4
_LOG_TIMES_MAX = 20.0
"""A step of the search that goes too far must not overflow."""


def jump_exposures(grid: Grid, products_DD: Array, merges: Sequence[int]) -> Array:
    """Exposures ``(K, D)`` of rows that jump over two steps at some steps, by the kind of the jump."""
    windows, places = len(grid.stale_begin_steps), len(grid.merge_steps)
    exposures_KD = np.zeros((KINDS, len(products_DD)))

    def add(step: int, measured: Sequence[int], before: int) -> None:
        part = products_DD[before:, before:]
        for index, times in interpolated(step, measured, lambda i, j: float(part[i, j])):
            exposures_KD[kind_of_jump(step, grid.steps), before + index] += times

    for step in merges:
        add(step, grid.merge_steps, windows)
        if grid.following_steps and step - 2 in merges:
            add(step, grid.following_steps, windows + places)
    return exposures_KD


def window_exposures(begins: Sequence[int], steps: int, begin: int, end: int) -> Array:
    """Which part of each window lies between two steps."""
    return np.array([max(0, min(e, end) - max(b, begin)) / (e - b) for b, e in pairwise((*begins, steps))])


def kind_of_each(grid: Grid) -> NDArray[np.int64]:
    """The kind of each disturbance."""
    jumps = [kind_of_jump(step, grid.steps) for step in (*grid.merge_steps, *grid.following_steps)]
    stale, unequal = (
        [kind] * len(b) for kind, b in ((STALE, grid.stale_begin_steps), (UNEQUAL, grid.unequal_begin_steps))
    )
    return np.array([*stale, *jumps, *unequal])


def joint_blocks(grid: Grid, products_DD: Array, weights_R: Array, *, members: int) -> Array:
    """Mean products ``(J, K, K)`` of what each joint probe exposes rows to, kind by kind."""
    found = [_blocks_of(joint, grid, products_DD, weights_R) for joint in joints(grid, members=members)]
    return np.array(found)


def _blocks_of(joint: Joint, grid: Grid, products_DD: Array, weights_R: Array) -> Array:
    ends = np.cumsum([0, *counts_of(joint.parts, len(weights_R))])
    shares = [float(weights_R[begin:end].sum() / weights_R.sum()) for begin, end in pairwise(ends)]
    jumps_KD = jump_exposures(grid, products_DD, joint.merges)
    begin, size = grid.stale_begin_steps[1], len(products_DD)
    end = grid.steps - (grid.steps - begin) % max(joint.strides)
    blocks_KK = np.zeros((KINDS, KINDS))
    ages = read_of_others(shares, joint.strides, mean_age)
    apart = read_of_others(shares, joint.strides, strides_apart)
    for share, stride, age, unequal in zip(shares, joint.strides, ages, apart, strict=True):
        parts_KD = jumps_KD * float(stride > 1)
        if joint.stale:
            stale_W = window_exposures(grid.stale_begin_steps, grid.steps, begin, end)
            unequal_W = window_exposures(grid.unequal_begin_steps, grid.steps, begin, end)
            parts_KD[STALE, : len(stale_W)] = age * stale_W
            parts_KD[UNEQUAL, size - len(unequal_W) :] = unequal * unequal_W
        blocks_KK += share * (parts_KD @ products_DD @ parts_KD.T)
    return blocks_KK


def seams_of_joints(grid: Grid, *, members: int) -> Array:
    """Seams of each joint probe; one for a device alone, to which none matters."""
    return np.array([max(1, len(joint.parts) - 1) for joint in joints(grid, members=members)], dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class JointFit:
    """How disturbances work together, and on whom.

    Attributes:
        times_K: how often the errors of each kind count on a typical picture.
        touchiness_PK: how many times those the errors of each picture are.
        saturation_mse: where errors begin to stay behind their sum.
        seam_power: power of the number of seams with which errors of what is read of others grow beyond its share.
    """

    times_K: Array
    touchiness_PK: Array
    saturation_mse: float
    seam_power: float


def fit_joints(blocks_JKK: Array, seams_J: Array, measured_PJ: Array) -> JointFit:
    """The parameters of least squared misses, in logarithms, of all pictures and joint probes.

    Each kind counts as often as makes the mean miss over pictures vanish, as far as all probes agree on it. Each
    picture is as touchy as its own probes say.

    Args:
        blocks_JKK: what the joint probes expose rows to.
        seams_J: of the joint probes.
        measured_PJ: what they came to, above zero; nan where a picture was not measured.
    """
    fits = [_fit(blocks_JKK, np.log(seams_J), np.log(measured_PJ), saturation_mse) for saturation_mse in _SATURATIONS]
    return min(fits, key=lambda fit: fit[0])[1]


def _fit(blocks_JKK: Array, log_seams_J: Array, logs_PJ: Array, saturation_mse: float) -> tuple[float, JointFit]:
    known_PJ = ~np.isnan(logs_PJ)
    logs_PJ = np.where(known_PJ, logs_PJ, 0.0)
    counts_J = np.maximum(known_PJ.sum(axis=0), 1)
    of_others_K = np.isin(np.arange(KINDS), (STALE, UNEQUAL))
    weight_J = np.sqrt(counts_J / counts_J.max())  # a mean over few pictures says less

    def misses(times_PK: Array, seam_power: float) -> Array:
        """Of each picture, with its own multiples in logarithms."""
        grown_JK = np.outer(log_seams_J, of_others_K) * np.clip(seam_power, -SEAM_POWER_MAX, SEAM_POWER_MAX)
        times_PJK = np.exp(np.clip(times_PK[:, None] + grown_JK, -_LOG_TIMES_MAX, _LOG_TIMES_MAX))
        sums_PJ = np.einsum("pja,jab,pjb->pj", times_PJK, blocks_JKK, times_PJK, optimize=True)
        logs = np.log(saturated(np.maximum(sums_PJ, MSE_FLOOR), saturation_mse))
        return np.where(known_PJ, logs - logs_PJ, 0.0)

    def mean_misses(common_1C: Array) -> Array:
        """Of all pictures together; of the common parameters the last one is the power of seams."""
        missed_J = misses(common_1C[:, :KINDS] + own_PK, float(common_1C[0, KINDS])).sum(axis=0)
        return np.append(missed_J / counts_J * weight_J, POWER_COSTS * common_1C[0, KINDS])[None]

    def own_misses(own_PK: Array) -> Array:
        alike_PK = np.sqrt(LIKE_OTHERS) * (own_PK - own_PK.mean(axis=1, keepdims=True))
        missed_PJ = misses(common_1C[:, :KINDS] + own_PK, float(common_1C[0, KINDS]))
        return np.concatenate((missed_PJ, alike_PK), axis=1)

    common_1C, own_PK = np.zeros((1, KINDS + 1)), np.zeros((len(logs_PJ), KINDS))
    for _ in range(_ROUNDS):
        common_1C = _least_squares(mean_misses, common_1C)
        own_PK = _least_squares(own_misses, own_PK)
        mean_1K = own_PK.mean(axis=0, keepdims=True)
        common_1C[:, :KINDS] += mean_1K
        own_PK = own_PK - mean_1K
    common_1C = _least_squares(mean_misses, common_1C)
    power = float(np.clip(common_1C[0, KINDS], -SEAM_POWER_MAX, SEAM_POWER_MAX))
    left = float((misses(common_1C[:, :KINDS] + own_PK, power) ** 2).sum() / known_PJ.sum())
    found = JointFit(
        times_K=np.exp(common_1C[0, :KINDS]),
        touchiness_PK=np.exp(own_PK),
        saturation_mse=saturation_mse,
        seam_power=power,
    )
    return left, found


def _least_squares(misses: Callable[[Array], Array], start_XK: Array) -> Array:
    """Damped Gauss-Newton for many small problems at once: least squares over the last axis of what it is given.

    Args:
        misses: of parameters ``(X, K)``, each row by itself: ``(X, N)``.
        start_XK: where to begin.
    """
    found_XK, size = start_XK, start_XK.shape[1]
    damping_X = np.full(len(start_XK), _DAMPING)
    missed_XN = misses(found_XK)
    for _ in range(_NEWTON_STEPS):
        steps = np.eye(size) * _DIFFERENCE
        slopes_XNK = np.stack([(misses(found_XK + step) - missed_XN) / _DIFFERENCE for step in steps], axis=2)
        normal_XKK = np.einsum("xnk,xnl->xkl", slopes_XNK, slopes_XNK) + damping_X[:, None, None] * np.eye(size)
        towards_XK = np.einsum("xnk,xn->xk", slopes_XNK, missed_XN)
        tried_XK = found_XK - np.linalg.solve(normal_XKK, towards_XK[:, :, None])[:, :, 0]
        tried_missed_XN = misses(tried_XK)
        better_X = (tried_missed_XN**2).sum(axis=1) < (missed_XN**2).sum(axis=1)
        found_XK = np.where(better_X[:, None], tried_XK, found_XK)
        missed_XN = np.where(better_X[:, None], tried_missed_XN, missed_XN)
        damping_X = np.where(better_X, damping_X / 4, damping_X * 8)
    return found_XK
