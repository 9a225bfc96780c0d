"""Distances of a picture to the single-device one, apart for the parts of it that differ in how they were made.

Shape legend: H, W pixels, 3 colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from latency_study.pictures import PEAK, Pixels, psnr_db
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from polyrhythm.plan.plan import Plan

SEAM_UNITS = 1
"""Row units on either side of a seam that count as its band."""

MS_SSIM_BETAS = (0.0448, 0.2856, 0.3001, 0.2363)
"""The first four of the five scales of Wang et al. 2003, scaled to a sum of 1: five need over 160 pixels a side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """Rows of pixels by how a plan makes them in the middle of the schedule; a seam band is not part of the others.

    Attributes:
        fast: at every step.
        slow: at every second step.
        seam: within a row unit of where two devices meet.
    """

    fast: NDArray[np.bool_]
    slow: NDArray[np.bool_]
    seam: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances:
    """One picture against its reference; None for a region that a plan has not.

    Attributes:
        psnr_db: of the whole picture.
        ssim: of the whole picture.
        ms_ssim: of the whole picture; a band of a few rows has no scales.
        psnr_by_region_db: by region.
        ssim_by_region: by region: mean of the map of local similarities.
    """

    psnr_db: float
    ssim: float
    ms_ssim: float
    psnr_by_region_db: dict[str, float | None]
    ssim_by_region: dict[str, float | None]


def regions_of(plan: Plan, *, row_unit_px: int, height_px: int) -> Regions:
    """Regions of a plan, by its segment with the largest strides."""
    segment = max(plan.segments, key=lambda segment: (max(segment.strides), segment.step_count))
    slow, seam = np.zeros(height_px, dtype=np.bool_), np.zeros(height_px, dtype=np.bool_)
    for assignment in segment.assignments:
        begin, end = assignment.rows.begin * row_unit_px, assignment.rows.end * row_unit_px
        if assignment.rows.count and assignment.stride > min(segment.strides):
            slow[begin:end] = True
        if assignment.rows.count and begin > 0:
            seam[max(0, begin - SEAM_UNITS * row_unit_px) : begin + SEAM_UNITS * row_unit_px] = True
    return Regions(fast=~slow & ~seam, slow=slow & ~seam, seam=seam)


def distances(image_HW3: Pixels, reference_HW3: Pixels, regions: Regions) -> Distances:
    """Compares one picture with its reference."""
    similarity: Any = structural_similarity(
        image_HW3,
        reference_HW3,
        channel_axis=2,
        data_range=PEAK,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    mean, map_HW3 = similarity
    rows = {"fast": regions.fast, "slow": regions.slow, "seam": regions.seam}
    return Distances(
        psnr_db=psnr_db(image_HW3, reference_HW3),
        ssim=float(mean),
        ms_ssim=_ms_ssim(image_HW3, reference_HW3),
        psnr_by_region_db={
            name: psnr_db(image_HW3[held], reference_HW3[held]) if held.any() else None for name, held in rows.items()
        },
        ssim_by_region={name: float(map_HW3[held].mean()) if held.any() else None for name, held in rows.items()},
    )


def _ms_ssim(image_HW3: Pixels, reference_HW3: Pixels) -> float:
    pair = [torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].double() for pixels in (image_HW3, reference_HW3)]
    betas = tuple(beta / sum(MS_SSIM_BETAS) for beta in MS_SSIM_BETAS)
    return float(multiscale_structural_similarity_index_measure(pair[0], pair[1], data_range=float(PEAK), betas=betas))
