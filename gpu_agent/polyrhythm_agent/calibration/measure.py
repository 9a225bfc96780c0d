"""From probes to numbers: runs every probe for every picture and sums up the errors.

Pictures differ by orders of magnitude in how much the same disturbance costs them, so each picture's errors are
divided by its own mean cost before they are averaged, and the typical (geometric mean) cost is multiplied back: the
prediction is then of the mean decibels over pictures, which one touchy picture cannot decide.

Shape letters: D disturbances, J joint probes, P pictures, L values of the latent, R row units; C H W of the latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from polyrhythm.calibration import Calibration
from polyrhythm.facts import ModelFacts
from polyrhythm.image import ImageSpec, Quality, Sampler
from polyrhythm_agent.boundary import BoundaryState
from polyrhythm_agent.calibration.gang import InProcessGang
from polyrhythm_agent.calibration.interaction import MSE_FLOOR, fit_interaction, followings
from polyrhythm_agent.calibration.probes import MEMBERS, Grid, Probe, joint_probes, reference_plan, single_probes

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureErrors:
    """What one picture says.

    Attributes:
        products_DD: mean over the latent of the product of two disturbances' errors.
        energy_R: mean squared error by row unit, all disturbances together.
        joint_mse_J: of the joint probes.
        low: smallest value of the single-device latent.
        high: largest value.
    """

    products_DD: Array
    energy_R: Array
    joint_mse_J: Array
    low: float
    high: float


def picture_of(facts: ModelFacts, prompt: str, seed: int, steps: int) -> ImageSpec:
    """A picture of the model's default size, guidance and sampler."""
    return ImageSpec(
        model=facts.model,
        prompt=prompt,
        width_px=facts.default_width_px,
        height_px=facts.default_height_px,
        steps=steps,
        seed=seed,
        guidance=facts.default_guidance,
        sampler=Sampler(facts.samplers[0]),
        quality=Quality.EXACT,
    )


def measure_picture(gang: InProcessGang, image: ImageSpec, grid: Grid, on_probe: Callable[[], None]) -> PictureErrors:
    """Runs the single-device picture and every probe.

    Args:
        gang: of at least two members.
        image: the picture.
        grid: what to measure.
        on_probe: called after every probe.
    """
    condition = gang.denoiser.encode(image)
    rows = gang.denoiser.geometry(image).row_count
    reference = gang.denoise(reference_plan(grid.steps, rows), image, condition)

    def error_of(probe: Probe) -> Array:
        begin = probe.plan.begin_step
        start = reference[begin] if begin else None
        final = gang.denoise(probe.plan, image, condition, start)[grid.steps]
        on_probe()
        return _values(final.x_BCHW) - _values(reference[grid.steps].x_BCHW)

    errors_DL = np.stack([error_of(probe) for probe in single_probes(grid, rows)])
    joint_mse_J = np.array([float(np.mean(error_of(probe) ** 2)) for probe in joint_probes(grid, rows)])
    clean_L = _values(reference[grid.steps].x_BCHW)
    return PictureErrors(
        products_DD=errors_DL @ errors_DL.T / errors_DL.shape[1],
        energy_R=_energy_by_row(errors_DL, reference[grid.steps], rows),
        joint_mse_J=joint_mse_J,
        low=float(clean_L.min()),
        high=float(clean_L.max()),
    )


def sum_up(pictures: Sequence[PictureErrors], grid: Grid, sampler: str) -> Calibration:
    """The calibration that the pictures give together."""
    joint_PJ = np.maximum(np.stack([picture.joint_mse_J for picture in pictures]), MSE_FLOOR)
    scale_P = np.exp(np.log(joint_PJ).mean(axis=1))
    typical = float(np.exp(np.log(scale_P).mean()))
    products_DD = typical * np.mean([p.products_DD / s for p, s in zip(pictures, scale_P, strict=True)], axis=0)
    energy_R = np.mean([p.energy_R / s for p, s in zip(pictures, scale_P, strict=True)], axis=0)
    energy_R = energy_R + energy_R[::-1]  # which half of a picture is busier is chance
    saturation_mse, following_merge = fit_interaction(
        {following: joint_sums(products_DD, grid, following) for following in followings(sampler)},
        np.exp(np.log(joint_PJ).mean(axis=0)).tolist(),
    )
    return Calibration(
        sampler=sampler,
        steps=grid.steps,
        latent_range=max(p.high for p in pictures) - min(p.low for p in pictures),
        stale_begin_steps=grid.stale_begin_steps,
        merge_steps=grid.merge_steps,
        products=tuple(float(value) for value in products_DD.ravel()),
        row_weights=tuple(float(value) for value in energy_R / energy_R.mean()),
        saturation_mse=saturation_mse,
        following_merge=following_merge,
        pictures=len(pictures),
    )


def probe_count(grid: Grid) -> int:
    """Probes a picture."""
    return len(single_probes(grid, len(MEMBERS))) + len(joint_probes(grid, len(MEMBERS)))


def joint_sums(products_DD: Array, grid: Grid, following: float) -> list[float]:
    """What the joint probes would cost if errors added as vectors, a merge after a merge so much more."""
    windows = len(grid.stale_begin_steps)
    sums: list[float] = []
    for probe in joint_probes(grid, len(MEMBERS)):
        exposures_D = np.zeros(len(products_DD))
        exposures_D[list(probe.disturbances)] = 1.0
        for index in probe.disturbances:
            place = index - windows
            if place > 0 and index - 1 in probe.disturbances:
                follows = grid.merge_steps[place - 1] + 2 == grid.merge_steps[place]
                exposures_D[index] = following if follows else 1.0
        sums.append(float(exposures_D @ products_DD @ exposures_D))
    return sums


def _values(latent_BCHW: Tensor) -> Array:
    return latent_BCHW.double().cpu().numpy().ravel()


def _energy_by_row(errors_DL: Array, state: BoundaryState, rows: int) -> Array:
    """Mean squared error of each row unit; the last one may be short."""
    _, channels, height, width = state.x_BCHW.shape
    energy_H = np.mean(errors_DL.reshape(-1, channels, height, width) ** 2, axis=(0, 1, 3))
    unit = -(-height // rows)
    return np.array([energy_H[row * unit : (row + 1) * unit].mean() for row in range(rows)])
