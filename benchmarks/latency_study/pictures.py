"""How far a picture is from the one that a single device makes: PSNR and SSIM of 8-bit RGB. Pure but for decoding PNG.

Shape legend: H, W pixels, 3 colours.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity

PEAK = 255
IDENTICAL_PSNR_DB = 100.0
"""Stands for identical pictures, whose PSNR is infinite: one level in one pixel of a 128 px picture is 95 dB."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureQuality:
    """Distances of a variant's pictures to the single-device ones, over all prompts.

    Attributes:
        prompts: pictures compared.
        psnr_mean_db: arithmetic mean over pictures.
        psnr_median_db: middle picture.
        psnr_low_db: worst picture.
        ssim_mean: arithmetic mean over pictures.
        ssim_low: worst picture.
        identical: pictures without any difference.
    """

    prompts: int
    psnr_mean_db: float
    psnr_median_db: float
    psnr_low_db: float
    ssim_mean: float
    ssim_low: float
    identical: int


def pixels_of(png: bytes) -> Pixels:
    """Decodes a PNG to ``(H, W, 3)``."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)


def psnr_db(image_HW3: Pixels, reference_HW3: Pixels) -> float:
    """``10 log10(255^2 / mean squared difference)``."""
    difference_HW3 = image_HW3.astype(np.float64) - reference_HW3.astype(np.float64)
    mean_square = float(np.mean(difference_HW3**2))
    return IDENTICAL_PSNR_DB if mean_square == 0 else 10 * log10(PEAK**2 / mean_square)


def ssim(image_HW3: Pixels, reference_HW3: Pixels) -> float:
    """Structural similarity with the Gaussian window of its authors (Wang et al. 2004), averaged over colours."""
    similarity: Any = structural_similarity(  # a float, as no gradient and no map are asked for
        image_HW3,
        reference_HW3,
        channel_axis=2,
        data_range=PEAK,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(similarity)


def compare(images: Sequence[Pixels], references: Sequence[Pixels]) -> PictureQuality:
    """Compares pictures of the same prompts and seeds, one by one."""
    pairs = list(zip(images, references, strict=True))
    decibels = [psnr_db(image, reference) for image, reference in pairs]
    similarities = [ssim(image, reference) for image, reference in pairs]
    return PictureQuality(
        prompts=len(pairs),
        psnr_mean_db=fmean(decibels),
        psnr_median_db=median(decibels),
        psnr_low_db=min(decibels),
        ssim_mean=fmean(similarities),
        ssim_low=min(similarities),
        identical=sum(value == IDENTICAL_PSNR_DB for value in decibels),
    )
