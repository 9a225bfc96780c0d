"""From the errors of pictures to a calibration: a typical picture's products, and how touchy each picture is. Pure.

Pictures differ by orders of magnitude in how much the same disturbance costs them. Each picture's errors are divided by
its own mean cost before their products are averaged, so that no touchy picture decides what points the same way; the
size of each disturbance is its geometric mean. How large the errors of stale activations, of jumps and of unequal
strides are in all, and on each picture, then follows from the plans that all pictures were measured by.

Shape letters: D disturbances, J joint probes, P pictures, R row units, K kinds of disturbances, F full pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polyrhythm.errors import PictureFailedError
from polyrhythm.model.calibration import Calibration, FigureError
from polyrhythm.model.facts import ModelFacts
from polyrhythm.model.request_choices import Sampler
from polyrhythm_agent.calibration.joint_fit import MSE_FLOOR, fit_joints, joint_blocks, kind_of_each, seams_of_joints
from polyrhythm_agent.calibration.measure import PictureErrors
from polyrhythm_agent.calibration.probes import Grid

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredAs:
    """How the pictures of a calibration are made.

    Attributes:
        sampler: their sampler.
        width_px: width.
        height_px: height.
        guidance: classifier-free guidance.
    """

    sampler: Sampler
    width_px: int
    height_px: int
    guidance: float


def measured_as(facts: ModelFacts) -> MeasuredAs:
    """A model's own sampler, size and guidance."""
    return MeasuredAs(
        sampler=facts.samplers[0],
        width_px=facts.default_width_px,
        height_px=facts.default_height_px,
        guidance=facts.default_guidance,
    )


def sum_up(pictures: Sequence[PictureErrors], grid: Grid, measured: MeasuredAs, *, members: int) -> Calibration:
    """The calibration that the pictures give together.

    Args:
        pictures: at least one of them measured in full.
        grid: that was measured.
        measured: how the pictures were made.
        members: of the largest gang that was measured.

    Raises:
        PictureFailedError: they are no pictures, such as latents that are all alike.
    """
    joint_PJ = np.maximum(np.stack([picture.joint_mse_J for picture in pictures]), MSE_FLOOR)  # nan stays nan
    full = [(picture.single, index) for index, picture in enumerate(pictures) if picture.single is not None]
    scale_F = [_geometric_mean(joint_PJ[index]) for _, index in full]
    energy_R = np.mean([single.energy_R / scale for (single, _), scale in zip(full, scale_F, strict=True)], axis=0)
    energy_R = energy_R + energy_R[::-1]  # which half of a picture is busier is chance
    weights_R = energy_R / energy_R.mean()
    products_DD = _typical_products([single.products_DD for single, _ in full], scale_F)
    blocks_JKK = joint_blocks(grid, products_DD, weights_R, members=members)
    joint = fit_joints(blocks_JKK, seams_of_joints(grid, members=members), joint_PJ)
    times_D = joint.times_K[kind_of_each(grid)]
    products_DD = products_DD * times_D * times_D[:, None]
    try:
        return Calibration(
            sampler=measured.sampler,
            steps=grid.steps,
            latent_range=max(p.high for p in pictures) - min(p.low for p in pictures),
            stale_begin_steps=grid.stale_begin_steps,
            merge_steps=grid.merge_steps,
            following_steps=grid.following_steps,
            unequal_begin_steps=grid.unequal_begin_steps,
            products=tuple(float(value) for value in products_DD.ravel()),
            touchiness=tuple(float(value) for value in joint.touchiness_PK.ravel()),
            row_weights=tuple(float(value) for value in weights_R),
            saturation_mse=joint.saturation_mse,
            seam_power=joint.seam_power,
            width_px=measured.width_px,
            height_px=measured.height_px,
            guidance=measured.guidance,
        )
    except FigureError as error:
        told = f"{len(pictures)} pictures of {grid.steps} steps make no calibration: {error}"
        raise PictureFailedError(told) from error


def _typical_products(products_FDD: Sequence[Array], scale_F: Sequence[float]) -> Array:
    """Mean products, each picture's by its own scale, whose diagonal is the geometric mean."""
    mean_DD = np.mean([products_DD / scale for products_DD, scale in zip(products_FDD, scale_F, strict=True)], axis=0)
    sizes_DF = np.maximum(np.stack([np.diag(products_DD) for products_DD in products_FDD], axis=1), MSE_FLOOR)
    typical_D = np.array([_geometric_mean(sizes_F) for sizes_F in sizes_DF])
    times_D = np.sqrt(typical_D / np.maximum(np.diag(mean_DD), MSE_FLOOR))
    return mean_DD * times_D * times_D[:, None]


def _geometric_mean(values: Array) -> float:
    """Of those that were measured."""
    return float(np.exp(np.nanmean(np.log(values))))
