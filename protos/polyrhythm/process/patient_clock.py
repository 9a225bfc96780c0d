"""A clock for patience with others: it rests while the process that counts on it does not run itself. Pure.

Who was stopped, swapped out or suspended has heard nobody meanwhile, and must not blame them for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientClock:
    """Time as patience counts it, on any monotonic clock; it never runs backwards.

    Attributes:
        seen_s: when the process last showed that it runs; None before it first did, when nothing is left out.
        rested_s: seconds left out so far.
    """

    seen_s: float | None = None
    rested_s: float = 0.0

    def patient_now_s(self, now_s: float, reach_s: float) -> float:
        """The present as patience counts it.

        Args:
            now_s: the present.
            reach_s: seconds without a sign of the process's own life that count; all beyond are left out.
        """
        counted_s = now_s if self.seen_s is None else min(now_s, self.seen_s + reach_s)
        return counted_s - self.rested_s

    def seen(self, now_s: float, reach_s: float) -> PatientClock:
        """The same once the process has shown that it runs; arguments as those of ``patient_now_s``."""
        return replace(self, seen_s=now_s, rested_s=now_s - self.patient_now_s(now_s, reach_s))
