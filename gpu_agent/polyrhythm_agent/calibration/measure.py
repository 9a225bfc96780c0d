"""What one picture says: runs its probes and keeps the errors.

Shape letters: D disturbances, J joint probes, U windows of unequal strides, L values of the latent, R row units; C H W
of the latent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.calibration import mean_age
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.plan import Plan
from polyrhythm_agent.calibration.gang import InProcessGang
from polyrhythm_agent.calibration.joint_fit import jump_exposures, window_exposures
from polyrhythm_agent.calibration.probes import (
    Grid,
    Joint,
    joint_probe,
    joints,
    merge_probes,
    reference_plan,
    stale_probes,
    unequal_probes,
)
from polyrhythm_agent.epoch.boundary_state import BoundaryState

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Single:
    """What a picture that is measured in full says of single disturbances.

    Attributes:
        products_DD: mean over the latent of the product of two disturbances' errors.
        energy_R: mean squared error by row unit, all disturbances together.
    """

    products_DD: Array
    energy_R: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureErrors:
    """What one picture says.

    Attributes:
        single: of one disturbance at a time; None where the picture only says how touchy pictures are.
        joint_mse_J: of the joint probes; nan of those that it was not measured by.
        low: smallest value of the single-device latent.
        high: largest value.
    """

    single: Single | None
    joint_mse_J: Array
    low: float
    high: float


def picture_of(facts: ModelFacts, prompt: str, seed: int, steps: int) -> ImageSpec:
    """A picture of the model's default size, guidance and sampler."""
    return ImageSpec(
        model=facts.name,
        prompt=prompt,
        width_px=facts.default_width_px,
        height_px=facts.default_height_px,
        steps=steps,
        seed=seed,
        guidance=facts.default_guidance,
        sampler=facts.samplers[0],
        quality=Quality.EXACT,
    )


def measure_picture(
    gang: InProcessGang, image: ImageSpec, grid: Grid, on_probe: Callable[[], None], *, in_full: bool
) -> PictureErrors:
    """Runs the single-device picture and its probes.

    Args:
        gang: of at least two members; joint probes of more members than it has are left out.
        image: the picture.
        grid: what to measure.
        on_probe: called after every probe.
        in_full: whether single disturbances are measured, and all joint ones.
    """
    probed = _Probed(gang, image, grid, on_probe)
    wanted = joints(grid, members=gang.size)
    return PictureErrors(
        single=_single(probed, grid) if in_full else None,
        joint_mse_J=np.array([probed.joint_mse(joint) if joint.for_all or in_full else np.nan for joint in wanted]),
        low=float(probed.clean_values.min()),
        high=float(probed.clean_values.max()),
    )


def _single(probed: _Probed, grid: Grid) -> Single:
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
    return Single(products_DD=_products(errors_DL), energy_R=_energy_by_row(errors_DL, probed.clean, rows))


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
        stale_W = window_exposures(grid.stale_begin_steps, grid.steps, begin, begin + steps)
        stale_L = stale_W @ errors_DL[: len(stale_W)]
        jumps_L = jump_exposures(grid, products_DD, range(begin, begin + steps, 2)).sum(axis=0) @ errors_DL
        equal_L = np.where(upper_L, mean_age(1, 2) * stale_L, mean_age(2, 1) * stale_L + jumps_L)
        beyond_UL[index] = (unequal_UL[index] - equal_L) * (end - begin) / steps
    return beyond_UL


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

    def joint_mse(self, joint: Joint) -> float:
        """Mean squared error of a joint probe."""
        return float(np.mean(self.error(joint_probe(joint, self._grid, self.rows)) ** 2))


def probe_count(grid: Grid, *, members: int, in_full: bool) -> int:
    """Probes a picture."""
    wanted = joints(grid, members=members)
    if not in_full:
        return sum(joint.for_all for joint in wanted)
    return len(grid.stale_begin_steps) + len(grid.jump_steps) + len(grid.unequal_begin_steps) + len(wanted)


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
