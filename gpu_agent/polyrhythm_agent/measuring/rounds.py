"""How many forwards of how many rows are timed, and when it is enough; how unevenly their layers come. No torch.

Seconds are few and devices differ by orders of magnitude, so row counts are tried from the smallest on: what would take
longer than there is time is left out, and the line through the others says what it takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import pi, sqrt
from statistics import fmean, median
from typing import Protocol

ENOUGH_ROUNDS = 3
"""Rounds after which the spread of their times says something."""
EXACT = 0.01
"""Standard error of a median, as a share of it, that is exact enough."""
LAST_COUNTS = 4
"""Row counts that are timed in rounds, the largest ones that were tried."""
_MAD_TO_DEVIATION = 1.4826
_MEDIAN_ERROR = 1.2533


class TimedForward(Protocol):
    """A forward over some rows."""

    @property
    def row_units(self) -> int:
        """How many."""
        ...

    def time_s(self) -> float:
        """Runs it once; wall seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    """One row count.

    Attributes:
        row_units: of each forward.
        seconds: of each; the first one only where there is no other.
    """

    row_units: int
    seconds: tuple[float, ...]


def time_forwards(
    forwards: Sequence[TimedForward],
    *,
    seconds: float,
    to_the_end: bool,
    first_s: Callable[[TimedForward], float | None],
    clock_s: Callable[[], float] = time.perf_counter,
) -> tuple[Timing, ...]:
    """Times forwards over growing numbers of rows, then all of them in rounds.

    Rounds interleave the row counts, so that a drift of the machine meets all of them.

    Args:
        forwards: ascending in their rows.
        seconds: for all of it. What has begun is ended; two row counts are tried at least.
        to_the_end: goes on until the time is over, however exact the times are, since others measure meanwhile.
        first_s: runs one for the first time; None where it does not fit, and neither will a larger one.
        clock_s: the clock.

    Returns:
        Times of the row counts that were tried; empty where none fits.
    """
    begin_s = clock_s()
    tried: list[tuple[TimedForward, list[float]]] = []
    for forward in forwards:
        if len(tried) > 1:
            last, times_s = tried[-1]
            expected_s = times_s[-1] * forward.row_units / last.row_units
            if clock_s() - begin_s + expected_s > seconds:
                break
        first = first_s(forward)
        if first is None:
            break
        # The very first forward pays for what all of them need; the first one of any other size for little.
        tried.append((forward, [first] if tried else [first, forward.time_s()]))
    rounds = tried[-LAST_COUNTS:]
    while rounds and clock_s() - begin_s < seconds and (to_the_end or not _is_enough([t for _, t in rounds])):
        for forward, times_s in rounds:
            times_s.append(forward.time_s())
    return tuple(Timing(forward.row_units, _warm(times_s)) for forward, times_s in rounds)


def _warm(times_s: Sequence[float]) -> tuple[float, ...]:
    return tuple(times_s[1:] or times_s)


def _is_enough(times_s: Sequence[Sequence[float]]) -> bool:
    """Whether the medians of all row counts are exact enough."""
    return all(len(_warm(each)) >= ENOUGH_ROUNDS and _error(_warm(each)) <= EXACT for each in times_s)


def _error(times_s: Sequence[float]) -> float:
    middle_s = median(times_s)
    deviation_s = _MAD_TO_DEVIATION * median(abs(each_s - middle_s) for each_s in times_s)
    return _MEDIAN_ERROR * deviation_s / sqrt(len(times_s)) / middle_s


def mean_jitter(timings: Sequence[Timing], gaps_s: Mapping[int, Sequence[Sequence[float]]]) -> float:
    """Of the row counts that were timed, the mean jitter of those whose forwards say something of it; 0 of none.

    Args:
        timings: what counts.
        gaps_s: by row count, those tried among them or not: of each forward, the seconds between its exchanges.
    """
    warm = [gaps_s[timing.row_units][1:] for timing in timings]
    told = [jitter_of(each) for each in warm if len(each) >= ENOUGH_ROUNDS]
    return fmean(told) if told else 0.0


def jitter_of(gaps_s: Sequence[Sequence[float]]) -> float:
    """How much the time between two exchanges varies from forward to forward, as a share of it.

    In a synchronous step the later of all members counts at every exchange, so unevenness costs time that a mean does
    not show. What all of a forward shares, as when the whole device is slower for a while, is none of it.

    Args:
        gaps_s: of forwards of the same rows, the seconds between their exchanges.

    Returns:
        The standard deviation of a normal distribution whose values differ as much from one another in the mean; 0
        where there are fewer than three forwards.
    """
    if len(gaps_s) < ENOUGH_ROUNDS:
        return 0.0
    whole_s = [sum(gaps) for gaps in gaps_s]
    mean_s = fmean(whole_s)
    shares = [[gap * mean_s / all_s for gap in gaps] for gaps, all_s in zip(gaps_s, whole_s, strict=True)]
    differences_s = sum(fmean(abs(a - b) for a, b in combinations(layer, 2)) for layer in zip(*shares, strict=True))
    return sqrt(pi) / 2 * differences_s / mean_s
