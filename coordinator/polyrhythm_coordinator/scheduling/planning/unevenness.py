"""By how much the last of several members is later than the slowest is in the mean. Pure.

The mean of the largest of two normal times is known in closed form; that largest one, taken for normal again, is held
against the next (Clark 1961, "The greatest of a finite set of random variables").
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, exp, pi, sqrt

SLOWEST_MAX = 8
"""Members that are looked at: much faster ones are hardly ever the last."""


def later_s(means_s: Sequence[float], deviations_s: Sequence[float]) -> float:
    """Seconds by which the latest of independent normal times exceeds the largest of their means, in the mean.

    Args:
        means_s: of each.
        deviations_s: of each, in the same order.
    """
    order = sorted(range(len(means_s)), key=lambda index: means_s[index] + deviations_s[index], reverse=True)
    largest_s = max(means_s)
    first, *others = order[:SLOWEST_MAX]
    mean_s, variance = means_s[first] - largest_s, deviations_s[first] ** 2
    for index in others:
        mean_s, variance = _larger(mean_s, variance, means_s[index] - largest_s, deviations_s[index] ** 2)
    return max(0.0, mean_s)


def _larger(mean_s: float, variance: float, other_s: float, other_variance: float) -> tuple[float, float]:
    """Mean and variance of the larger of two normal times."""
    spread_s = sqrt(variance + other_variance)
    if spread_s == 0.0:
        return max(mean_s, other_s), 0.0
    apart = (mean_s - other_s) / spread_s
    density = exp(-apart * apart / 2) / sqrt(2 * pi)
    first = (1 + erf(apart / sqrt(2))) / 2
    larger_s = mean_s * first + other_s * (1 - first) + spread_s * density
    square = (mean_s**2 + variance) * first + (other_s**2 + other_variance) * (1 - first)
    square += (mean_s + other_s) * spread_s * density
    return larger_s, max(0.0, square - larger_s**2)
