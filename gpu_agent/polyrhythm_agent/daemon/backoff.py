"""Delays between attempts, growing and bounded. Pure: randomness is an argument."""

from __future__ import annotations


def doubling_delay_s(failures: int, *, first_s: float, longest_s: float) -> float:
    """Delay before the next attempt after so many failures in a row: 0, ``first_s``, twice that, and so on.

    Raises:
        ValueError: failures is negative.
    """
    if failures < 0:
        raise ValueError(f"failures must not be negative: {failures}")
    if failures == 0:
        return 0.0
    # Beyond 64 doublings every delay is the longest; the bound keeps the power finite.
    return min(longest_s, first_s * 2.0 ** min(failures - 1, 64))


def jittered_delay_s(delay_s: float, chance: float) -> float:
    """Spreads a delay evenly over its half to its whole, so that a fleet does not come back all at once.

    Args:
        delay_s: the longest.
        chance: a random number in ``[0, 1)``.
    """
    return delay_s * (0.5 + 0.5 * chance)
