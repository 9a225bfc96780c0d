"""Whether an agent keeps its pace, by its own measure: what has changed is told at once. Pure.

Owns the rule for the agent's side only: it knows no profile and decides nothing. Whether a change is worth a new plan
is the coordinator's to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

BEATS = 3
"""Beats that are remembered: so many reports in a row are told at once after a change, as evidence for it."""
FACTOR = 1.25
"""By which a beat must leave one of them; noise of 11 % either way never does."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds a forward of the last beats with the same number of rows.

    Attributes:
        rows: row units that were held.
        last_s: mean seconds a forward of each of the last beats, the newest at the end, ``BEATS`` of them at most.
    """

    rows: int = 0
    last_s: tuple[float, ...] = ()

    def after(self, rows: int, step_s: Sequence[float]) -> Pace:
        """The same with one more beat; one with other rows begins anew, one without forwards says nothing.

        Args:
            rows: row units held in the beat.
            step_s: seconds of each forward.
        """
        if not step_s:
            return self
        before = self.last_s if rows == self.rows else ()
        return Pace(rows, (*before, fmean(step_s))[-BEATS:])

    @property
    def changed(self) -> bool:
        """Whether the newest beat has left one of the others."""
        if not self.last_s:
            return False
        newest_s = self.last_s[-1]
        return newest_s > FACTOR * min(self.last_s) or FACTOR * newest_s < max(self.last_s)
