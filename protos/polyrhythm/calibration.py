"""What stale activations and merged steps cost on one model: the numbers that predict a plan's quality.

Data and its invariants only. The agent measures it (``polyrhythm calibrate``), the planner predicts from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

IDENTICAL_PSNR_DB = 100.0
"""Stands for the very same latent, whose PSNR is infinite."""


SATURATION_POWER = 0.7
"""How fast large errors fall behind; chosen on the demo model, where 1 and 0.5 fit a little worse."""


SECOND_ORDER_SAMPLERS = frozenset({"dpmpp-2m"})
"""Samplers whose step also looks at the one before it."""


def saturated(sum_mse: float, saturation_mse: float) -> float:
    """Mean squared error of several disturbances together.

    A linear model of small errors adds them as vectors. Large errors do not go on growing so, since pictures differ by
    no more than pictures do. The law is this project's own.

    Args:
        sum_mse: mean square of the summed error vectors.
        saturation_mse: where the error begins to fall behind.
    """
    return sum_mse / (1.0 + sum_mse / saturation_mse) ** SATURATION_POWER


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Errors of a model's final latent against the one of a single device, for one sampler on one grid.

    The measured **disturbances** are, in this order: activations of the other half of the rows that are one fine step
    old throughout a window, for each window; and one jump of the whole picture over two fine steps, for each place.

    Attributes:
        sampler: that was measured; others are not calibrated.
        steps: fine steps of the grid that was measured.
        latent_range: largest minus smallest value of the single-device latents, the peak of the PSNR.
        stale_begin_steps: first step of each window, ascending; a window ends where the next begins, the last one at
            ``steps``.
        merge_steps: fine step at which each measured jump begins, ascending.
        products: mean over pictures of the mean product of two disturbances' errors, row by row, a square matrix; the
            diagonal is a disturbance's latent mean squared error.
        row_weights: how the errors lie over the height of the picture, top to bottom, of mean 1.
        saturation_mse: where the error of several disturbances together begins to stay behind the sum of its parts.
        following_merge: error of a jump that follows a jump over that of one between single steps, 1 or more: a sampler
            of second order also looks at the step before.
        pictures: how many were measured.
    """

    sampler: str
    steps: int
    latent_range: float
    stale_begin_steps: tuple[int, ...]
    merge_steps: tuple[int, ...]
    products: tuple[float, ...]
    row_weights: tuple[float, ...]
    saturation_mse: float
    following_merge: float
    pictures: int

    def __post_init__(self) -> None:
        if self.steps < 2 or self.pictures < 1 or not self.sampler:
            raise ValueError(f"sampler {self.sampler!r}, {self.steps} steps and {self.pictures} pictures mean nothing")
        if not 0 < self.latent_range < float("inf") or not 0 < self.saturation_mse < float("inf"):
            raise ValueError(
                f"latent_range {self.latent_range} and saturation_mse {self.saturation_mse} must be positive"
            )
        if not 1 <= self.following_merge < float("inf"):
            raise ValueError(f"following_merge must be at least 1: {self.following_merge}")
        for name, begins, last in (
            ("stale_begin_steps", self.stale_begin_steps, self.steps - 1),
            ("merge_steps", self.merge_steps, self.steps - 2),
        ):
            if not begins or any(b <= a for a, b in pairwise(begins)) or not 0 <= begins[0] <= begins[-1] <= last:
                raise ValueError(f"{name} must ascend within 0..{last}: {begins}")
        if len(self.products) != self.size**2 or not all(map(isfinite, self.products)):
            raise ValueError(f"products must be {self.size}^2 finite numbers, got {len(self.products)}")
        if (
            not self.row_weights
            or not all(isfinite(w) and w >= 0 for w in self.row_weights)
            or not any(self.row_weights)
        ):
            raise ValueError(f"row_weights must be positive: {self.row_weights}")

    @property
    def size(self) -> int:
        """Number of disturbances."""
        return len(self.stale_begin_steps) + len(self.merge_steps)
