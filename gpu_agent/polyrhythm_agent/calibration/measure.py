"""From probes to numbers: runs every probe for every picture and sums up the errors.

Pictures differ by orders of magnitude in how much the same disturbance costs them, so each picture's errors are
divided by its own mean cost before they are averaged, and the typical (geometric mean) cost is multiplied back: the
prediction is then of the mean decibels over pictures, which one touchy picture cannot decide.

Shape letters: D disturbances, J joint probes, P pictures, L values of the latent, R row units; C H W of the latent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from polyrhythm.calibration import Calibration, mean_age
from polyrhythm.facts import ModelFacts
from polyrhythm.image import ImageSpec, Quality, Sampler
from polyrhythm.plan import Plan
from polyrhythm_agent.boundary import BoundaryState
from polyrhythm_agent.calibration.gang import InProcessGang
from polyrhythm_agent.calibration.interaction import MSE_FLOOR, fit_interaction, jump_exposures
from polyrhythm_agent.calibration.probes import (
    BODY_LEVEL,
    FIRST_LEVEL,
    LEVEL_JOINTS,
    STALE_LEVEL,
    Grid,
    joint_probes,
    joints,
    merge_probes,
    reference_plan,
    stale_probes,
    unequal_probes,
)

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
    probed = _Probed(gang, image, grid, on_probe)
    rows = probed.rows
    jumps = dict(zip(grid.jump_steps, map(probed.error, merge_probes(grid, rows)), strict=True))
    errors_DL = np.stack(
        [
            *map(probed.error, stale_probes(grid, rows)),
            *(jumps[step,] for step in grid.merge_steps),
            *(jumps[step - 2, step] - jumps[step - 2,] - jumps[step,] for step in grid.following_steps),
        ]
    )
    unequal_UL = np.stack([*map(probed.error, unequal_probes(grid, rows))])
    errors_DL = np.concatenate((errors_DL, beyond_equal(unequal_UL, errors_DL, grid, probed.is_upper)))
    return PictureErrors(
        products_DD=_products(errors_DL),
        energy_R=_energy_by_row(errors_DL, probed.clean, rows),
        joint_mse_J=probed.joint_errors(range(len(joints(grid)))),
        low=float(probed.clean_values.min()),
        high=float(probed.clean_values.max()),
    )


def beyond_equal(unequal_UL: Array, errors_DL: Array, grid: Grid, upper_L: NDArray[np.bool_]) -> Array:
    """What unequal strides leave beyond the staleness of each half and the jumps of the lower one.

    Args:
        unequal_UL: errors of the windows of unequal strides.
        errors_DL: of all other disturbances.
        grid: that was measured.
        upper_L: which values belong to the half at full rate.
    """
    products_DD = _products(errors_DL)
    beyond_UL = np.empty_like(unequal_UL)
    for index, (begin, end) in enumerate(grid.unequal_windows):
        steps = (end - begin) // 2 * 2
        stale_D = np.zeros(len(errors_DL))
        for window, (first, last) in enumerate(grid.stale_windows):
            stale_D[window] = max(0, min(last, begin + steps) - max(first, begin)) / (last - first)
        stale_L = stale_D @ errors_DL
        jumps_L = jump_exposures(grid, products_DD, range(begin, begin + steps, 2)) @ errors_DL
        equal_L = np.where(upper_L, mean_age(1, 2) * stale_L, mean_age(2, 1) * stale_L + jumps_L)
        beyond_UL[index] = (unequal_UL[index] - equal_L) * (end - begin) / steps
    return beyond_UL


def measure_level(gang: InProcessGang, image: ImageSpec, grid: Grid, on_probe: Callable[[], None]) -> Array:
    """Mean squared errors of the ``LEVEL_JOINTS``: how touchy a picture is, for a fraction of the work."""
    return _Probed(gang, image, grid, on_probe).joint_errors(LEVEL_JOINTS)


class _Probed:
    """One picture made by a single device, and the errors of plans that go on from its boundaries."""

    def __init__(self, gang: InProcessGang, image: ImageSpec, grid: Grid, on_probe: Callable[[], None]) -> None:
        self._gang, self._image, self._grid, self._on_probe = gang, image, grid, on_probe
        self._condition = gang.denoiser.encode(image)
        self.rows = gang.denoiser.geometry(image).row_count
        self._reference = gang.denoise(reference_plan(grid.steps, self.rows), image, self._condition)

    @property
    def clean(self) -> BoundaryState:
        """The single-device latent."""
        return self._reference[self._grid.steps]

    @property
    def clean_values(self) -> Array:
        """Its values."""
        return _values(self.clean.x_BCHW)

    def error(self, plan: Plan) -> Array:
        """What a plan makes different."""
        start = self._reference[plan.begin_step] if plan.begin_step else None
        final = self._gang.denoise(plan, self._image, self._condition, start)[self._grid.steps]
        self._on_probe()
        return _values(final.x_BCHW) - self.clean_values

    @property
    def is_upper(self) -> NDArray[np.bool_]:
        """Which values belong to the upper one of two equal halves."""
        _, channels, height, width = self.clean.x_BCHW.shape
        unit = -(-height // self.rows)
        is_upper_H = np.arange(height) < (self.rows - self.rows // 2) * unit
        return np.tile(np.repeat(is_upper_H, width), channels)

    def joint_errors(self, indices: Iterable[int]) -> Array:
        """Mean squared error of some joint probes."""
        plans = joint_probes(self._grid, self.rows)
        return np.array([float(np.mean(self.error(plans[index]) ** 2)) for index in indices])


def sum_up(pictures: Sequence[PictureErrors], levels: Sequence[Array], grid: Grid, sampler: str) -> Calibration:
    """The calibration that the pictures give together.

    Args:
        pictures: measured in full.
        levels: joint probes of further pictures, which say how touchy pictures are.
        grid: that was measured.
        sampler: likewise.
    """
    joint_PJ = np.maximum(np.stack([picture.joint_mse_J for picture in pictures]), MSE_FLOOR)
    scale_P = _geometric_mean(joint_PJ.T)
    # Full pictures may be touchier than others: their errors are brought to the level of all, kind by kind.
    measured_PJ = joint_PJ[:, list(LEVEL_JOINTS)]
    everybody_PJ = np.concatenate([measured_PJ, np.maximum(np.stack(levels), MSE_FLOOR)]) if levels else measured_PJ
    ratios = (_geometric_mean(everybody_PJ) / _geometric_mean(measured_PJ)).tolist()
    level_L: dict[int, float] = dict(zip(LEVEL_JOINTS, ratios, strict=True))
    level_D = np.sqrt(level_of_each(grid, level_L))
    energy_R = np.mean([p.energy_R / s for p, s in zip(pictures, scale_P, strict=True)], axis=0)
    energy_R = energy_R + energy_R[::-1]  # which half of a picture is busier is chance
    products_DD = _typical_products([p.products_DD for p in pictures], scale_P) * level_D * level_D[:, None]
    level_J = [
        level_L.get(index, level_L[STALE_LEVEL if joint.stale else BODY_LEVEL])
        for index, joint in enumerate(joints(grid))
    ]
    together = fit_interaction(grid, products_DD, (np.array(level_J) * _geometric_mean(joint_PJ)).tolist())
    weights_D = together.counts(grid, len(products_DD))
    products_DD = products_DD * weights_D * weights_D[:, None]
    return Calibration(
        sampler=sampler,
        steps=grid.steps,
        latent_range=max(p.high for p in pictures) - min(p.low for p in pictures),
        stale_begin_steps=grid.stale_begin_steps,
        merge_steps=grid.merge_steps,
        following_steps=grid.following_steps,
        unequal_begin_steps=grid.unequal_begin_steps,
        products=tuple(float(value) for value in products_DD.ravel()),
        row_weights=tuple(float(value) for value in energy_R / energy_R.mean()),
        saturation_mse=together.saturation_mse,
        pictures=len(everybody_PJ),
    )


def level_of_each(grid: Grid, level_L: Mapping[int, float]) -> Array:
    """How much touchier all pictures are than those measured in full, for each disturbance.

    Args:
        grid: that was measured.
        level_L: the same for each of the ``LEVEL_JOINTS``.
    """
    first_end = grid.stale_begin_steps[1]
    jumps = [level_L[FIRST_LEVEL if step < first_end else BODY_LEVEL] for step in grid.merge_steps]
    following = [level_L[BODY_LEVEL]] * len(grid.following_steps)
    stale, unequal = ([level_L[STALE_LEVEL]] * len(b) for b in (grid.stale_begin_steps, grid.unequal_begin_steps))
    return np.array([*stale, *jumps, *following, *unequal])


def _typical_products(products_PDD: Sequence[Array], scale_P: Array) -> Array:
    """Mean products whose diagonal is the geometric mean: what is predicted is the mean decibels over pictures."""
    mean_DD = np.mean([products_DD / scale for products_DD, scale in zip(products_PDD, scale_P, strict=True)], axis=0)
    sizes_PD = np.maximum(np.stack([np.diag(products_DD) for products_DD in products_PDD]), MSE_FLOOR)
    times_D = np.sqrt(_geometric_mean(sizes_PD) / np.maximum(np.diag(mean_DD), MSE_FLOOR))
    return mean_DD * times_D * times_D[:, None]


def _geometric_mean(values_PX: Array) -> Array:
    """Over pictures."""
    return np.exp(np.log(values_PX).mean(axis=0))


def probe_count(grid: Grid, *, full: bool = True) -> int:
    """Probes a picture, of one that is measured in full or of its level alone."""
    if not full:
        return len(LEVEL_JOINTS)
    return len(grid.stale_begin_steps) + len(grid.jump_steps) + len(grid.unequal_begin_steps) + len(joints(grid))


def _products(errors_DL: Array) -> Array:
    return errors_DL @ errors_DL.T / errors_DL.shape[1]


def _values(latent_BCHW: Tensor) -> Array:
    return latent_BCHW.double().cpu().numpy().ravel()


def _energy_by_row(errors_DL: Array, state: BoundaryState, rows: int) -> Array:
    """Mean squared error of each row unit; the last one may be short."""
    _, channels, height, width = state.x_BCHW.shape
    energy_H = np.mean(errors_DL.reshape(-1, channels, height, width) ** 2, axis=(0, 1, 3))
    unit = -(-height // rows)
    return np.array([energy_H[row * unit : (row + 1) * unit].mean() for row in range(rows)])
