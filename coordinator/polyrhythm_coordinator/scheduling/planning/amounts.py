"""Seconds and bytes in words: two that are compared have as many digits as tell them apart. Pure."""

from __future__ import annotations

from math import floor, log10

SECONDS_DECIMALS, MIB_DECIMALS = 3, 1
"""That people are shown where nothing asks for more."""
SIGNIFICANT = 3
"""Digits of the shorter of two durations, at least."""
DECIMALS_MAX = 12


def mib(size_bytes: int, decimals: int = MIB_DECIMALS) -> str:
    """An amount of memory."""
    return f"{size_bytes / 2**20:.{decimals}f} MiB"


def mib_apart(one_bytes: int, other_bytes: int) -> tuple[str, str]:
    """Two amounts of memory that are held against each other."""
    decimals = _decimals(one_bytes / 2**20, other_bytes / 2**20, MIB_DECIMALS)
    return mib(one_bytes, decimals), mib(other_bytes, decimals)


def seconds_decimals(one_s: float, other_s: float) -> int:
    """Digits behind the point of two durations that are held against each other, or are parts of one another."""
    smaller_s = min(one_s, other_s)
    leading = SIGNIFICANT - 1 - floor(log10(smaller_s)) if smaller_s > 0 else 0
    return _decimals(one_s, other_s, min(max(SECONDS_DECIMALS, leading), DECIMALS_MAX))


def seconds_apart(one_s: float, other_s: float) -> tuple[str, str]:
    """Two durations that are held against each other."""
    decimals = seconds_decimals(one_s, other_s)
    return f"{one_s:.{decimals}f} s", f"{other_s:.{decimals}f} s"


def _decimals(one: float, other: float, least: int) -> int:
    tried = range(least, DECIMALS_MAX + 1)
    return next((number for number in tried if f"{one:.{number}f}" != f"{other:.{number}f}"), least)
