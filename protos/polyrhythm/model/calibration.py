"""What stale activations and merged steps cost on one model: the numbers that predict a plan's quality.

Data and its invariants only. The agent measures it (``polyrhythm calibrate``), the planner predicts from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import isnan, lcm, sqrt
from typing import Any, TypeVar

from polyrhythm.model.request_choices import Sampler

ValueT = TypeVar("ValueT")

IDENTICAL_PSNR_DB = 100.0
"""Stands for the very same latent, whose PSNR is infinite."""


SATURATION_POWER = 0.7
"""How fast large errors fall behind; chosen on the demo model, where 1 and 0.5 fit a little worse."""


MULTIPLE_MAX = 2.0
"""Two vectors that nearly cancel are not scaled up further than this: what lies between them is not known so well."""


STEPS_MAX = 250
"""Of a grid that is measured."""
DISTURBANCES_MAX = 256
"""Measured on one grid, at most."""
PICTURES_MAX = 1024
"""Measured on one grid, at most."""

KINDS = 4
"""Of disturbances: stale activations, early jumps, later ones, unequal strides. A picture can be touchy to one of them
and not to another."""
STALE, EARLY_JUMP, JUMP, UNEQUAL = range(KINDS)
EARLY_SHARE = 0.2
"""Of a grid's steps: jumps that begin there are early."""

MEASURED_SHARE = 0.5
"""Of the picture that is stale to each of two members when windows are measured."""

SEAM_POWER_MAX = 1.0
"""Beyond the share that is stale, errors grow no faster than the seams do."""

FIGURE_BOUNDS: Mapping[str, tuple[float, float]] = {
    "latent_range": (1e-6, 1e6),
    "products": (-1e24, 1e24),
    "touchiness": (1e-9, 1e9),
    "row_weights": (0.0, 1e6),
    "saturation_mse": (1e-12, 1e12),
    "seam_power": (-SEAM_POWER_MAX, SEAM_POWER_MAX),
    "guidance": (0.0, 1e3),
}
"""Least and most of each figure. Latents are of the order of 10 and errors far smaller, so all of this is beyond what
can be measured, and far from where squares, sums over a picture's steps and quotients of them leave a float's range."""
ROW_WEIGHT_LEAST = 1e-6
"""The largest weight is no smaller: all of them are divided by their mean."""

SECOND_ORDER_SAMPLERS = frozenset({Sampler.DPM_SOLVER_PP_2M})
"""Samplers whose step also looks at the one before it."""


def saturated(sum_mse: ValueT, saturation_mse: float) -> ValueT:
    """Mean squared error of several disturbances together.

    A linear model of small errors adds them as vectors. Large errors do not go on growing so, since pictures differ by
    no more than pictures do. The law is this project's own.

    Args:
        sum_mse: mean square of the summed error vectors, or an array of such.
        saturation_mse: where the error begins to fall behind.
    """
    value: Any = sum_mse
    return value / (1.0 + value / saturation_mse) ** SATURATION_POWER


@lru_cache(maxsize=4096)
def mean_age(reader_stride: int, owner_stride: int) -> float:
    """Fine steps between an active step of a reader and the newest version before it, on average over an interval."""
    interval = lcm(reader_stride, owner_stride)
    active = range(interval, 2 * interval, reader_stride)
    return sum(step - (step - 1) // owner_stride * owner_stride for step in active) / len(active)


def read_of_others(
    shares: Sequence[float], strides: Sequence[int], cost: Callable[[int, int], float]
) -> tuple[float, ...]:
    """What each member reads of others, relative to what two equal halves read of each other.

    What does not change cannot be stale, so shares of the picture are weighted by how errors lie over its height.

    Args:
        shares: of the picture that the members hold, of sum 1.
        strides: of the members.
        cost: of the strides of a reader and an owner.
    """
    share_of: dict[int, float] = {}
    for share, stride in zip(shares, strides, strict=True):
        share_of[stride] = share_of.get(stride, 0.0) + share
    seen = {reader: sum(cost(reader, owner) * share for owner, share in share_of.items()) for reader in share_of}
    return tuple(
        (seen[stride] - cost(stride, stride) * share) / MEASURED_SHARE
        for share, stride in zip(shares, strides, strict=True)
    )


def crowding(members: int, seam_power: float) -> float:
    """How many times what its members read of others counts in a gang that has more seams than two halves have.

    Args:
        members: that hold rows.
        seam_power: of the number of seams.
    """
    return float(max(1, members - 1)) ** seam_power


def kind_of_jump(step: int, steps: int) -> int:
    """Of a jump that begins at a step of a grid."""
    return EARLY_JUMP if step < EARLY_SHARE * steps else JUMP


def strides_apart(reader: int, owner: int) -> float:
    """How far a stride is from another, relative to 1 and 2."""
    return abs(reader - owner)


def interpolated(
    position: float, places: Sequence[int], product: Callable[[int, int], float]
) -> tuple[tuple[int, float], ...]:
    """What a disturbance between two measured places is, as multiples of their error vectors.

    Both count by their distance, as often as makes the mean square lie between theirs in decibels: half of each where
    they point the same way and are of one length, and more where they hardly correlate. The rule is this project's own.

    Args:
        position: on the measured grid; beyond the outermost places, these count.
        places: measured, ascending.
        product: mean product of the errors at two places, by their indices.

    Returns:
        Indices of places and how often each counts.
    """
    clipped = min(max(position, places[0]), places[-1])
    after = next(index for index, place in enumerate(places) if place >= clipped)
    if places[after] == clipped:
        return ((after, 1.0),)
    before = after - 1
    share = (clipped - places[before]) / (places[after] - places[before])
    wanted = product(before, before) ** (1 - share) * product(after, after) ** share
    plain = (1 - share) ** 2 * product(before, before) + share**2 * product(after, after)
    plain += 2 * share * (1 - share) * product(before, after)
    times = sqrt(wanted / plain) if plain * MULTIPLE_MAX**2 > wanted else MULTIPLE_MAX
    return ((before, (1 - share) * times), (after, share * times))


class FigureError(ValueError):
    """A figure of a calibration that nobody can have measured.

    Attributes:
        field: its name.
        description: what is wrong with it.
    """

    def __init__(self, field: str, description: str) -> None:
        self.field = field
        self.description = description
        super().__init__(f"{field} {description}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedGrid:
    """What users are told of a calibration: that there is one. Its numbers are for the planner alone.

    Attributes:
        sampler: that was measured.
        steps: fine steps of the grid that was measured.
        pictures: how many were measured.
    """

    sampler: Sampler
    steps: int
    pictures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Errors of a model's final latent against the one of a single device, for one sampler on one grid.

    The measured **disturbances** are, in this order: activations of the other half of the rows that are one fine step
    old throughout a window, for each window; one jump of the whole picture over two fine steps, for each place; what
    two such jumps in a row leave beyond the sum of both, for each place of the second one; and what strides 1 and 2 of
    the two halves leave beyond all of these, for each window.

    Attributes:
        sampler: that was measured; others are not calibrated.
        steps: fine steps of the grid that was measured.
        latent_range: largest minus smallest value of the single-device latents, the peak of the PSNR.
        stale_begin_steps: first step of each window, ascending; a window ends where the next begins, the last one at
            ``steps``.
        merge_steps: fine step at which each measured jump begins, ascending.
        following_steps: fine step at which the second of each two measured jumps in a row begins, ascending; empty for
            samplers that do not look back.
        unequal_begin_steps: first step of each window of unequal strides, ascending.
        products: mean product of two disturbances' errors on a typical picture, row by row, a square matrix; the
            diagonal is a disturbance's latent mean squared error.
        touchiness: of each measured picture, how many times the typical errors its own are: of stale activations, of
            early jumps, of later ones and of unequal strides, picture by picture.
        row_weights: how the errors lie over the height of the picture, top to bottom, of mean 1.
        saturation_mse: where the error of several disturbances together begins to stay behind the sum of its parts.
        seam_power: power of the number of seams with which errors of what is read of others grow beyond its share.
        width_px: of the pictures that were measured.
        height_px: likewise.
        guidance: likewise.
    """

    sampler: Sampler
    steps: int
    latent_range: float
    stale_begin_steps: tuple[int, ...]
    merge_steps: tuple[int, ...]
    following_steps: tuple[int, ...]
    unequal_begin_steps: tuple[int, ...]
    products: tuple[float, ...]
    touchiness: tuple[float, ...]
    row_weights: tuple[float, ...]
    saturation_mse: float
    seam_power: float
    width_px: int
    height_px: int
    guidance: float

    def __post_init__(self) -> None:
        if not 2 <= self.steps <= STEPS_MAX:
            raise ValueError(f"steps must be 2..{STEPS_MAX}, got {self.steps}")
        if min(self.width_px, self.height_px) < 1:
            raise ValueError(f"width_px and height_px must be positive, got {self.width_px}x{self.height_px}")
        for name in FIGURE_BOUNDS:
            _check_figures(name, getattr(self, name))
        for name, begins, first, last in (
            ("stale_begin_steps", self.stale_begin_steps, 0, self.steps - 1),
            ("merge_steps", self.merge_steps, 0, self.steps - 2),
            ("following_steps", self.following_steps, 2, self.steps - 2),
            ("unequal_begin_steps", self.unequal_begin_steps, 0, self.steps - 2),
        ):
            if any(b <= a for a, b in pairwise(begins)) or not all(first <= begin <= last for begin in begins):
                raise ValueError(f"{name} must ascend within {first}..{last}: {begins}")
        if not (self.stale_begin_steps and self.merge_steps and self.unequal_begin_steps):
            raise ValueError("stale_begin_steps, merge_steps and unequal_begin_steps may not be empty")
        self._check_products()
        if not self.touchiness or len(self.touchiness) % KINDS or self.pictures > PICTURES_MAX:
            told = f"{KINDS} numbers for each of 1 to {PICTURES_MAX} pictures, got {len(self.touchiness)}"
            raise ValueError(f"touchiness must be {told}")
        largest = max(self.row_weights, default=0.0)
        if largest < ROW_WEIGHT_LEAST:
            raise FigureError("row_weights", f"must reach {ROW_WEIGHT_LEAST:g}, the largest is {largest:g}")

    def _check_products(self) -> None:
        """Products of vectors: none larger than that of the longest one with itself."""
        size = self.size
        if size > DISTURBANCES_MAX or len(self.products) != size**2:
            raise ValueError(
                f"products must be {size}^2 numbers of at most {DISTURBANCES_MAX}^2, got {len(self.products)}"
            )
        squares = self.products[:: size + 1]
        if min(squares) < 0:
            raise ValueError(f"the product of an error with itself cannot be negative: {min(squares)}")
        least, largest, most = min(self.products), max(self.products), max(squares)
        if max(largest, -least) > most:
            raise ValueError(f"products of vectors no longer than {most}^0.5 cannot be {least}..{largest}")

    @property
    def pictures(self) -> int:
        """How many were measured."""
        return len(self.touchiness) // KINDS

    @property
    def size(self) -> int:
        """Number of disturbances."""
        windows = len(self.stale_begin_steps) + len(self.unequal_begin_steps)
        return windows + len(self.merge_steps) + len(self.following_steps)


def _check_figures(name: str, figures: float | Sequence[float]) -> None:
    """Holds a figure, or a list of such, against their bounds.

    Raises:
        FigureError: one of them is outside, or not a number.
    """
    least, most = FIGURE_BOUNDS[name]
    listed = isinstance(figures, Sequence)
    values = figures if listed else (figures,)
    # There may be some ten thousand, on an event loop: these passes are the interpreter's own.
    if not values or (not any(map(isnan, values)) and least <= min(values) and max(values) <= most):
        return
    index, value = next((index, value) for index, value in enumerate(values) if not least <= value <= most)
    place = f"[{index}]" if listed else ""
    raise FigureError(f"{name}{place}", f"must be {least:g}..{most:g}, got {value:g}")
