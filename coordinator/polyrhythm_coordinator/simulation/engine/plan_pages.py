"""Segments of one epoch as one member holds them, and which beat follows which boundary. Pure.

The rule is that of the agents (docs/architecture.md): a newer plan takes over at the first boundary that both have, one
boundary later than its holding was agreed. Where they wait for a segment, ``MISSING`` is returned here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from polyrhythm.plan.plan import Beat, Segment


class Answer(Enum):
    """What there is instead of a beat."""

    MISSING = "missing"
    """The segment has not come yet."""


MISSING: Final = Answer.MISSING
Found: TypeAlias = Beat | Literal[Answer.MISSING] | None


@dataclass(frozen=True, slots=True)
class _Version:
    segments: tuple[Segment, ...] = ()
    complete: bool = False


class PlanPages:
    """All plan versions of one epoch that have come."""

    def __init__(self) -> None:
        self._versions: dict[int, _Version] = {}

    @property
    def newest_version(self) -> int:
        """Highest version of which at least one segment is held."""
        return max(self._versions)

    def add(self, version: int, segments: tuple[Segment, ...], *, complete: bool) -> None:
        """Takes the following segments of a version, or the first ones of a new version.

        Raises:
            ValueError: a gap between segments, or no segments for a new version: a bug of the core.
        """
        held = self._versions.get(version, _Version())
        joined = (*held.segments, *segments)
        if not joined:
            raise ValueError(f"plan {version} starts without a segment")
        for before, after in pairwise(joined):
            if after.begin_step != before.end_step:
                raise ValueError(f"plan {version}: segment begins at {after.begin_step}, expected {before.end_step}")
        self._versions[version] = _Version(joined, held.complete or complete)

    def beat_at(self, step: int, *, version: int, current_version: int) -> tuple[Found, int]:
        """The beat that begins at a boundary, and the version it belongs to; None after the last step.

        Raises:
            ValueError: the current plan has no boundary there: a bug of the core.
        """
        if version != current_version and self._versions[version].segments[0].begin_step == step:
            return self._find(step, version), version
        beat = self._find(step, current_version)
        held = self._versions[current_version]
        if beat is None and not (held.complete and step == held.segments[-1].end_step):
            raise ValueError(f"plan {current_version} has no boundary at step {step}")
        return beat, current_version

    def _find(self, step: int, version: int) -> Found:
        held = self._versions[version]
        if step < held.segments[0].begin_step:
            return None
        if not held.complete and step >= held.segments[-1].end_step:
            return MISSING
        beats = (beat for segment in held.segments for beat in segment.beats())
        return next((beat for beat in beats if beat.begin_step == step), None)
