"""When a running picture is worth a new plan: the whole hysteresis in one place. Pure.

A member's beat is measured as ``wall - wait``: the seconds that passed while it was not blocked on its peers. That
counts what the plan cannot know of: another process that takes turns on the core (CPU time does not grow then), a clock
that was lowered, a device whose emulated speed has changed (an emulated device sleeps in proportion to its CPU time, so
the sleep is in ``wall`` too). It is held against the seconds that the plan in force assumed for the same forwards. What
slows all members by one factor departs from the plan too, and is then no reason for other rows.

A new plan needs all three:

1. ``BEATS`` beats in a row of one member left the known ratio by the factor ``BAND``, in the same direction. Noise of
   11 % either way around a steady speed never does, whichever beat of it was taken as known: ``1.11 / 0.89 < BAND``.
2. The rest of the picture is predicted, at the ratios that were measured, to gain ``GAIN_SHARE`` of what is left ...
3. ... and the cost of switching on top, as far as no prediction holds it (the synchronous step at the takeover is in
   that of the new plan).

Whatever comes of it, the ratios that were weighed are the known ones from then on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean

from polyrhythm.profile import Profile

BEATS = 2
"""Beats in a row that must say the same."""
BAND = 1.25
"""Factor by which they must leave what is known."""
GAIN_SHARE = 0.05
"""Of the predicted rest that a new plan must save; about what predictions are exact to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedWatch:
    """One member's last beats under the plan in force.

    Attributes:
        known: measured over assumed seconds, as last weighed; 1 where the plan is as measured.
        last: the same ratio of the last beats, the newest at the end, ``BEATS`` of them at most.
    """

    known: float = 1.0
    last: tuple[float, ...] = ()

    @property
    def departed(self) -> bool:
        """Whether the member has changed its speed for more than a moment."""
        if len(self.last) < BEATS:
            return False
        return min(self.last) > self.known * BAND or max(self.last) < self.known / BAND

    @property
    def ratio(self) -> float:
        """Best guess at the present ratio.

        Of a member that has changed, its newest beat, since the change may have come in the middle of the one before;
        of any other, the mean of its last beats.
        """
        if not self.last:
            return self.known
        return self.last[-1] if self.departed else fmean(self.last)

    def seen(self, measured_s: float, assumed_s: float) -> SpeedWatch:
        """Takes one beat into account.

        Args:
            measured_s: wall seconds less the seconds that it waited.
            assumed_s: of the same forwards by the plan; a beat without any says nothing.
        """
        if assumed_s <= 0 or measured_s <= 0:
            return self
        return replace(self, last=(*self.last, measured_s / assumed_s)[-BEATS:])

    def weighed(self) -> SpeedWatch:
        """The same once its ratio has been weighed."""
        return replace(self, known=self.ratio)


def worth_switching(rest_s: float, new_rest_s: float, switch_s: float) -> bool:
    """Whether another plan for the rest of a picture gains enough.

    Args:
        rest_s: predicted seconds of the rest by the plan in force.
        new_rest_s: by the new one.
        switch_s: what the switch costs and neither prediction holds.
    """
    return rest_s - new_rest_s > GAIN_SHARE * rest_s + switch_s


def scaled(profile: Profile, ratio: float) -> Profile:
    """A profile of a device that takes ``ratio`` times as long."""
    return replace(profile, fixed_s=profile.fixed_s * ratio, per_row_s=profile.per_row_s * ratio)
