"""Medians, spreads and ratios of repeated runs. Pure; METHODOLOGY.md says which number each one becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Middle and extremes of a few numbers.

    With five repetitions extremes say more than a standard deviation, and hide nothing.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Spread:
        """Of at least one number.

        Raises:
            ValueError: there is none.
        """
        if not numbers:
            raise ValueError("a spread needs at least one number")
        return cls(median=median(numbers), low=min(numbers), high=max(numbers))


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Ratios within each round, so that whatever slows a whole round cancels out.

    Raises:
        ValueError: the rounds differ in number.
    """
    return Spread.of([a / b for a, b in zip(numerators, denominators, strict=True)])


def utilisation(busy_s: Sequence[float], denoise_s: float, devices: int) -> float:
    """Share of all devices' time that went into computing; a device that takes no part is idle.

    Args:
        busy_s: of each device that took part.
        denoise_s: wall seconds of all steps.
        devices: of the fleet.
    """
    return sum(busy_s) / (denoise_s * devices)


def prediction_error(predicted_s: float, measured_s: float) -> float:
    """Signed and relative to the measurement: 0.05 says that the prediction was 5 % too high."""
    return predicted_s / measured_s - 1.0
