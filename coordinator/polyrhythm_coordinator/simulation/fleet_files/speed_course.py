"""A device's speed over virtual time: piecewise constant, until it dies. Pure."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedCourse:
    """Share of a device's own speed that is left to the picture, moment by moment.

    Attributes:
        changes: ``(at_s, speed)``, ascending; before the first one the speed is 1.
        ends_s: when the device dies; what is not finished by then never is.
    """

    changes: tuple[tuple[float, float], ...] = ()
    ends_s: float = inf

    def __post_init__(self) -> None:
        times = [at_s for at_s, _ in self.changes]
        if times != sorted(set(times)):
            raise ValueError(f"changes of speed must come in ascending order: {times}")
        if any(at_s < 0 or speed <= 0 for at_s, speed in self.changes):
            raise ValueError(f"a change needs a time of at least 0 and a speed above 0: {self.changes}")

    def at(self, now_s: float) -> float:
        """Speed at a moment."""
        index = bisect_right(self.changes, (now_s, inf))
        return self.changes[index - 1][1] if index else 1.0

    def finish_s(self, begin_s: float, work_s: float) -> float:
        """When work is done that takes ``work_s`` seconds at speed 1; infinite where the device dies before."""
        if begin_s == inf:
            return inf
        now_s, left_s = begin_s, work_s
        for index in range(bisect_right(self.changes, (begin_s, inf)), len(self.changes) + 1):
            speed = self.changes[index - 1][1] if index else 1.0
            until_s = self.changes[index][0] if index < len(self.changes) else inf
            end_s = now_s + left_s / speed
            if end_s <= until_s:
                now_s = end_s
                break
            left_s -= (until_s - now_s) * speed
            now_s = until_s
        return now_s if now_s <= self.ends_s else inf


OWN_SPEED = SpeedCourse()
"""Never anything but its own speed, and for ever."""
