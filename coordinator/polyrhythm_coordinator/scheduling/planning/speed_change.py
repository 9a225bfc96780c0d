"""When a running picture is worth a new plan: the whole hysteresis in one place. Pure.

A member's forward is measured as the wall seconds in which it was not blocked on its peers. That counts what the plan
cannot know of: another process that takes turns on the core (CPU time does not grow then), a clock that was lowered, a
device whose emulated speed has changed (an emulated device sleeps in proportion to its CPU time, so the sleep is in it
too). It is held against the seconds that the plan in force assumed for the same forward. What slows all members by one
factor departs from the plan too, and is then no reason for other rows.

A new plan needs all three:

1. One member left the known ratio for more than a moment. Evidence is summed forward by forward (a one-sided cumulative
   sum, Page 1954, one for either direction): the logarithm of the departure less that of ``BAND``, ``STEP_MAX`` at
   most, and never below none. ``ENOUGH`` of it, over ``MOMENT_S``, is a change: two forwards after a large one, more
   after a small one, never after one forward alone, however long it took. Noise of 11 % either way around a steady
   speed gives none at all, whichever forward of it was taken as known: ``1.11 / 0.89 < BAND``.
2. The rest of the picture is predicted, at the ratios that were measured, to gain ``GAIN_SHARE`` of what is left ...
3. ... and the cost of switching on top, as far as no prediction holds it (the synchronous step at the takeover is in
   that of the new plan).

Whatever comes of it, the ratios that were weighed are the known ones from then on.

A picture whose plans keep changing has noisy members, and no plan fits them for long: from the second plan on that was
followed for a changed speed, each one doubles the evidence that the next change needs, ``DOUBLINGS_MAX`` times at most
(``times_evidence``). A load that comes and goes is followed as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log
from statistics import fmean

from polyrhythm.plan.profile import Profile

BAND = 1.25
"""Factor within which a forward is no evidence of a change."""
STEP_MAX = 0.3
"""Evidence that one forward can give; less than ``ENOUGH``, so that a hiccup is none."""
ENOUGH = 0.4
"""Evidence of a change."""
MOMENT_S = 0.1
"""What is over sooner is no change: short forwards must agree for so long."""
LAST = 8
"""Forwards from which the present ratio is taken."""
FREE_PLANS = 1
"""Plans for a changed speed after which a change needs no more evidence than before."""
DOUBLINGS_MAX = 3
"""Of the evidence that a change needs, however many plans there were."""
GAIN_SHARE = 0.05
"""Of the predicted rest that a new plan must save; about what predictions are exact to."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """That a member has changed its speed in one direction.

    Attributes:
        weight: of the evidence.
        ratios: of the forwards since there is any, ``LAST`` of them at most.
        seconds: that they took.
    """

    weight: float = 0.0
    ratios: tuple[float, ...] = ()
    seconds: float = 0.0

    def seen(self, departure: float, ratio: float, seconds: float) -> Evidence:
        """Takes one forward into account; none is left once the forwards within the band outweigh the others.

        Args:
            departure: logarithm of the factor by which it left the known ratio, in this direction.
            ratio: measured over assumed seconds.
            seconds: that it took.
        """
        weight = self.weight + min(departure - log(BAND), STEP_MAX)
        if weight <= 0:
            return Evidence()
        return Evidence(weight, (*self.ratios, ratio)[-LAST:], self.seconds + seconds)

    def is_enough(self, times: int) -> bool:
        """Whether it shows a change.

        Args:
            times: how many times the usual evidence is asked for.
        """
        return self.weight >= times * ENOUGH and self.seconds >= MOMENT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedWatch:
    """One member's last forwards under the plan in force.

    Attributes:
        known: measured over assumed seconds, as last weighed; 1 where the plan is as measured.
        last: the same ratio of the last forwards, the newest at the end, ``LAST`` of them at most.
        slower: evidence that it has become slower than known.
        faster: that it has become faster.
        times: how many times the usual evidence a change needs.
    """

    known: float = 1.0
    last: tuple[float, ...] = ()
    slower: Evidence = Evidence()
    faster: Evidence = Evidence()
    times: int = 1

    @property
    def departed(self) -> bool:
        """Whether the member has changed its speed for more than a moment."""
        return self.slower.is_enough(self.times) or self.faster.is_enough(self.times)

    @property
    def ratio(self) -> float:
        """Best guess at the present ratio.

        Of a member that has changed, the mean of its forwards since then, without the first of them, in whose middle
        the change may have come; of any other, the mean of its last ones.
        """
        if self.departed:
            evidence = self.slower if self.slower.is_enough(self.times) else self.faster
            return fmean(evidence.ratios[1:])
        return fmean(self.last) if self.last else self.known

    def seen(self, step_s: Sequence[float], assumed_s: float) -> SpeedWatch:
        """Takes one beat into account.

        Args:
            step_s: wall seconds of each forward less those that it waited; a beat without any says nothing.
            assumed_s: of one such forward by the plan.
        """
        watch = self
        for measured_s in step_s:
            if measured_s > 0 and assumed_s > 0:
                watch = watch._after(measured_s, measured_s / assumed_s)
        return watch

    def weighed(self) -> SpeedWatch:
        """The same once its ratio has been weighed."""
        return SpeedWatch(known=self.ratio, last=self.last, times=self.times)

    def _after(self, measured_s: float, ratio: float) -> SpeedWatch:
        departure = log(ratio / self.known)
        return replace(
            self,
            last=(*self.last, ratio)[-LAST:],
            slower=self.slower.seen(departure, ratio, measured_s),
            faster=self.faster.seen(-departure, ratio, measured_s),
        )


def times_evidence(speed_plans: int) -> int:
    """How many times the usual evidence a change needs.

    Args:
        speed_plans: that were followed for changed speeds.
    """
    return 2 ** min(max(speed_plans - FREE_PLANS, 0), DOUBLINGS_MAX)


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
    alone = profile.alone and profile.alone.scaled(ratio)
    return replace(profile, fixed_s=profile.fixed_s * ratio, per_row_s=profile.per_row_s * ratio, alone=alone)
