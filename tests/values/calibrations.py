"""Calibrations for tests: errors of made-up disturbances, dearest in the middle of the grid."""

from __future__ import annotations

import numpy as np

from polyrhythm.model.calibration import Calibration
from polyrhythm.model.request_choices import Sampler


def calibration(
    *,
    sampler: Sampler = Sampler.DDIM,
    steps: int = 50,
    width: int = 5,
    together: float = 0.4,
    scale: float = 1.0,
    following: float = 0.0,
    unequal: float = 0.0,
    touchiness: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
    seam_power: float = 0.0,
) -> Calibration:
    """A calibration whose error vectors point partly the same way.

    Args:
        sampler: that counts as measured.
        steps: of the grid.
        width: of a window, and between places.
        together: how alike the vectors are.
        scale: of all vectors.
        following: length of what a merged step after a merged step leaves beyond both, over that of one.
        unequal: the same of what unequal strides leave beyond the rest.
        touchiness: four numbers a picture.
        seam_power: with which errors grow with the number of seams beyond what is read of others.
    """
    stale = (1, *range(4, steps - 1, width))
    merges = tuple(range(0, steps - 1, width))
    seconds = merges[1:]
    time_D = np.array([*stale, *merges, *seconds, *stale]) / steps
    length_D = scale * (0.03 * np.exp(-(((time_D - 0.35) / 0.3) ** 2)) + 0.004)
    length_D[-len(stale) - len(seconds) : -len(stale)] *= following
    length_D[-len(stale) :] *= unequal
    vectors_DL = np.random.default_rng(0).normal(size=(len(time_D), 40)) + together
    vectors_DL *= (length_D / np.linalg.norm(vectors_DL, axis=1))[:, None]
    return Calibration(
        sampler=sampler,
        steps=steps,
        latent_range=7.0,
        stale_begin_steps=stale,
        merge_steps=merges,
        following_steps=seconds,
        unequal_begin_steps=stale,
        products=tuple((vectors_DL @ vectors_DL.T).ravel().tolist()),
        touchiness=touchiness,
        row_weights=(0.2, 0.6, 1.2, 2.0, 2.0, 1.2, 0.6, 0.2),
        saturation_mse=0.01,
        seam_power=seam_power,
        width_px=128,
        height_px=128,
        guidance=4.0,
    )
