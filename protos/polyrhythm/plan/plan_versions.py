"""The plans of one epoch as far as they have come, and which beat follows which boundary. Pure.

A newer plan takes over at its first step, or never. Every member that holds the same versions gets the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from polyrhythm.plan.plan import Beat, Segment


class Answer(Enum):
    """What there is instead of a beat."""

    MISSING = "missing"
    """The segment has not come yet."""


MISSING: Final = Answer.MISSING
FoundBeat: TypeAlias = Beat | Literal[Answer.MISSING] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanVersion:
    """One plan, perhaps without its later segments.

    Attributes:
        segments: at least one; each begins where the one before ends.
        complete: whether these are all.
    """

    segments: tuple[Segment, ...]
    complete: bool

    def __post_init__(self) -> None:
        if not self.segments:
            raise ValueError("a plan starts without a segment")
        for before, after in pairwise(self.segments):
            if after.begin_step != before.end_step:
                raise ValueError(f"a segment begins at step {after.begin_step}, expected {before.end_step}")

    @property
    def begin_step(self) -> int:
        """Its first step."""
        return self.segments[0].begin_step

    @property
    def end_step(self) -> int:
        """The step behind the segments that have come."""
        return self.segments[-1].end_step

    def beat_at(self, step: int) -> FoundBeat:
        """The beat that begins at a step; None where none does."""
        if step < self.begin_step:
            return None
        if step >= self.end_step and not self.complete:
            return MISSING
        beats = (beat for segment in self.segments for beat in segment.beats())
        return next((beat for beat in beats if beat.begin_step == step), None)


@dataclass(frozen=True, slots=True)
class PlanVersions:
    """All plan versions of one epoch, by number."""

    versions: Mapping[int, PlanVersion] = field(default_factory=dict[int, PlanVersion])

    @property
    def newest(self) -> int:
        """Highest version of which at least one segment has come."""
        return max(self.versions)

    def extended(self, version: int, segments: tuple[Segment, ...], *, complete: bool) -> PlanVersions:
        """With the following segments of a version, or the first ones of a new version.

        Raises:
            ValueError: a gap between segments, or no segments for a new version.
        """
        held = self.versions.get(version)
        before, was_complete = (held.segments, held.complete) if held else ((), False)
        joined = PlanVersion(segments=(*before, *segments), complete=was_complete or complete)
        return PlanVersions({**self.versions, version: joined})

    def beat_at(self, step: int, *, version: int, current_version: int) -> tuple[FoundBeat, int]:
        """The beat that begins at a boundary.

        Args:
            step: of the boundary.
            version: that all members hold.
            current_version: that was followed up to there.

        Returns:
            The beat and the version that it belongs to; None after the last step.

        Raises:
            ValueError: the current plan has no boundary there.
        """
        if version != current_version and self.versions[version].begin_step == step:
            return self.versions[version].beat_at(step), version
        current = self.versions[current_version]
        beat = current.beat_at(step)
        if beat is None and not (current.complete and step == current.end_step):
            raise ValueError(f"plan {current_version} has no boundary at step {step}")
        return beat, current_version
