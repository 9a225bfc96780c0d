"""What calibrations say of every step of a picture's grid: products of the errors that disturbing it leaves.

Owns how measured windows and places become steps of any grid. A step can be disturbed in four ways: what it reads is
one fine step old; it is read at another stride than it was computed at; it is the first half of a jump over two; such a
jump follows another one. On the grid that was measured:

* A window's error vector is shared out among its steps. Between two measured places a jump is interpolated.
* On a grid of other length the same drift a step and the same jump scale with the step's length: stale activations with
  its first power, a jump with the sampler's order of local error.

**Between two measured lengths** both calibrations are brought to the picture's grid so. Of each error vector the length
is interpolated in decibels and the angles to others linearly, over the logarithm of the number of steps: at a measured
length exactly what was measured there counts. Of a picture's touchiness, the logarithm is interpolated; pictures are
the same ones in all calibrations of a model, in the same order. The rules are this project's own.

Shape letters: M fine steps, D measured disturbances, S steps in one of four ways (way by way), P pictures, K kinds of
disturbances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from polyrhythm.model.calibration import (
    KINDS,
    SECOND_ORDER_SAMPLERS,
    STALE,
    UNEQUAL,
    Calibration,
    interpolated,
    kind_of_jump,
)

Array = NDArray[np.float64]

WAYS = 4
READ_LATE, READ_UNEQUAL, JUMPED, JUMPED_AGAIN = range(WAYS)

STALE_ORDER = 1.0
SECOND_ORDER_MERGE = 3.0
FIRST_ORDER_MERGE = 2.0
"""Powers of the step's length: drift a step; local errors of solvers of second and of first order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepErrors:
    """Errors of a typical picture by step, and how touchy pictures are.

    Attributes:
        steps: fine steps of the picture.
        products_SS: of the error vectors of two disturbed steps.
        touchiness_PK: how many times typical the errors of each measured picture are, kind by kind.
        row_weights: how errors lie over the height of the picture, top to bottom.
        latent_range: the peak of the PSNR.
        saturation_mse: where sums of errors begin to fall behind.
        seam_power: power of the number of seams with which errors of what is read of others grow beyond its share.
    """

    steps: int
    products_SS: Array
    touchiness_PK: Array
    row_weights: Array
    latent_range: float
    saturation_mse: float
    seam_power: float


def step_errors(calibrations: Sequence[Calibration], steps: int) -> StepErrors:
    """What one calibration, or two of one sampler on both sides of a picture's length, say of its steps.

    Args:
        calibrations: one, or a shorter and a longer grid.
        steps: of the picture.
    """
    parts = [_scaled(calibration, steps) for calibration in calibrations]
    if len(parts) == 1:
        return parts[0]
    shorter, longer = (calibration.steps for calibration in calibrations)
    return _between(*parts, share=log(steps / shorter) / log(longer / shorter))


def _scaled(calibration: Calibration, steps: int) -> StepErrors:
    """One calibration on a grid of so many steps."""
    exposures_SD = np.concatenate(
        (
            _windows_MD(calibration, steps, calibration.stale_begin_steps, 0),
            _windows_MD(calibration, steps, calibration.unequal_begin_steps, _before_unequal(calibration)),
            _jumps_MD(calibration, steps, calibration.merge_steps, _before_merges(calibration)),
            _jumps_MD(calibration, steps, calibration.following_steps, _before_following(calibration)),
        )
    )
    return StepErrors(
        steps=steps,
        products_SS=exposures_SD @ products_of(calibration) @ exposures_SD.T,
        touchiness_PK=np.array(calibration.touchiness).reshape(-1, KINDS),
        row_weights=np.array(calibration.row_weights),
        latent_range=calibration.latent_range,
        saturation_mse=calibration.saturation_mse,
        seam_power=calibration.seam_power,
    )


def kinds_S(steps: int) -> NDArray[np.int64]:
    """The kind of each step in each way."""
    jumps = [kind_of_jump(step, steps) for step in range(steps)]
    return np.array([*[STALE] * steps, *[UNEQUAL] * steps, *jumps, *jumps])


def products_of(calibration: Calibration) -> Array:
    """Products of the measured disturbances, as a symmetric matrix without angles that no vectors have."""
    products_DD = np.array(calibration.products).reshape(calibration.size, calibration.size)
    length_D = np.sqrt(np.diag(products_DD))
    most_DD = np.outer(length_D, length_D)
    return np.clip((products_DD + products_DD.T) / 2, -most_DD, most_DD)


def _before_merges(calibration: Calibration) -> int:
    return len(calibration.stale_begin_steps)


def _before_following(calibration: Calibration) -> int:
    return _before_merges(calibration) + len(calibration.merge_steps)


def _before_unequal(calibration: Calibration) -> int:
    return calibration.size - len(calibration.unequal_begin_steps)


def _windows_MD(calibration: Calibration, steps: int, begin_steps: Sequence[int], before: int) -> Array:
    """Exposure of each step to windows, which so many other disturbances come before."""
    ratio = calibration.steps / steps
    begins = np.array(begin_steps, dtype=np.float64)
    ends = np.append(begins[1:], calibration.steps)
    lengths_W = ends - begins
    begins[0] = 0.0  # what lies before the first window is taken for a part of it
    step_M = np.arange(steps)[:, None] * ratio
    overlap_MW = np.clip(np.minimum(step_M + ratio, ends) - np.maximum(step_M, begins), 0.0, None)
    exposure_MD = np.zeros((steps, calibration.size))
    exposure_MD[:, before : before + len(begins)] = overlap_MW / lengths_W * ratio**STALE_ORDER
    return exposure_MD


def _jumps_MD(calibration: Calibration, steps: int, begin_steps: Sequence[int], before: int) -> Array:
    """Exposure of the jump over each step and the next one to places; nothing jumps from the last step."""
    ratio = calibration.steps / steps
    second = calibration.sampler in SECOND_ORDER_SAMPLERS
    scale = ratio ** (SECOND_ORDER_MERGE if second else FIRST_ORDER_MERGE)
    part = products_of(calibration)[before:, before:]
    exposure_MD = np.zeros((steps, calibration.size))
    for step in range(steps - 1 if begin_steps else 0):
        position = (step + 1) * ratio - 1
        for index, times in interpolated(position, begin_steps, lambda i, j: float(part[i, j])):
            exposure_MD[step, before + index] += scale * times
    return exposure_MD


def _between(one: StepErrors, other: StepErrors, *, share: float) -> StepErrors:
    """What lies between two, so far from the first one to the other."""
    pictures = min(len(one.touchiness_PK), len(other.touchiness_PK))
    logs_PK = [np.log(part.touchiness_PK[:pictures]) for part in (one, other)]
    heights = np.linspace(0.0, 1.0, max(len(one.row_weights), len(other.row_weights)))
    weights = [np.interp(heights, np.linspace(0.0, 1.0, len(p.row_weights)), p.row_weights) for p in (one, other)]
    return StepErrors(
        steps=one.steps,
        products_SS=_products_between(one.products_SS, other.products_SS, share),
        touchiness_PK=np.exp((1 - share) * logs_PK[0] + share * logs_PK[1]),
        row_weights=(1 - share) * weights[0] + share * weights[1],
        latent_range=_in_decibels(one.latent_range, other.latent_range, share),
        saturation_mse=_in_decibels(one.saturation_mse, other.saturation_mse, share),
        seam_power=(1 - share) * one.seam_power + share * other.seam_power,
    )


def _products_between(one_SS: Array, other_SS: Array, share: float) -> Array:
    """Lengths in decibels, angles linearly: a mean of cosines of vectors is one of vectors again."""
    lengths = [np.sqrt(np.maximum(np.diag(products_SS), 0.0)) for products_SS in (one_SS, other_SS)]
    cosines = [
        products_SS / np.outer(length_S, length_S).clip(min=np.finfo(np.float64).tiny)
        for products_SS, length_S in zip((one_SS, other_SS), lengths, strict=True)
    ]
    length_S = lengths[0] ** (1 - share) * lengths[1] ** share
    return ((1 - share) * cosines[0] + share * cosines[1]) * np.outer(length_S, length_S)


def _in_decibels(one: float, other: float, share: float) -> float:
    return exp((1 - share) * log(one) + share * log(other))
