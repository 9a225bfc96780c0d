"""Segments as they arrive, and which beat follows which boundary. Shared by the step loop and the channel's thread.

A plan version may hold back its later segments; asking for a beat that has not arrived blocks until it does.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from polyrhythm.plan.plan import Beat, Segment
from polyrhythm_agent.errors import EpochAbortedError


@dataclass(slots=True)
class _Version:
    segments: list[Segment] = field(default_factory=list[Segment])
    complete: bool = False

    @property
    def begin_step(self) -> int:
        return self.segments[0].begin_step

    @property
    def end_step(self) -> int:
        return self.segments[-1].end_step


class PlanBook:
    """All plan versions of one epoch."""

    def __init__(self, *, version: int, segments: tuple[Segment, ...], complete: bool) -> None:
        self._changed = threading.Condition()
        self._versions: dict[int, _Version] = {}
        self._abort_reason: str | None = None
        self.extend(version=version, segments=segments, complete=complete)

    @property
    def newest_version(self) -> int:
        """Highest version of which at least one segment is held."""
        with self._changed:
            return max(self._versions)

    def extend(self, *, version: int, segments: tuple[Segment, ...], complete: bool) -> None:
        """Adds the following segments of a version, or the first ones of a new version.

        Raises:
            ValueError: a gap between segments, or no segments for a new version.
        """
        with self._changed:
            held = self._versions.get(version, _Version())
            for segment in segments:
                if held.segments and segment.begin_step != held.end_step:
                    raise ValueError(
                        f"plan {version}: segment begins at step {segment.begin_step}, expected {held.end_step}"
                    )
                held.segments.append(segment)
            if not held.segments:
                raise ValueError(f"plan {version} starts without a segment")
            held.complete = held.complete or complete
            self._versions[version] = held
            self._changed.notify_all()

    def beat_at(self, step: int, *, version: int, current_version: int) -> tuple[Beat | None, int]:
        """The beat that begins at a boundary.

        Follows ``version`` if its first beat begins there, else goes on with ``current_version``: a newer plan takes
        over at its first step, whose synchronous segment lets rows move, or never. Every member that holds the same
        versions gets the same answer.

        Returns:
            The beat and the version it belongs to; None after the last step.

        Raises:
            EpochAbortedError: the epoch ended while waiting for a segment.
        """
        if version != current_version and self._begins_at(step, version):
            return self._find(step, version), version
        beat = self._find(step, current_version)
        if beat is None and not self._ends_at(step, current_version):
            raise ValueError(f"plan {current_version} has no boundary at step {step}")
        return beat, current_version

    def abort(self, reason: str) -> None:
        """Wakes whoever waits for a segment."""
        with self._changed:
            self._abort_reason = reason
            self._changed.notify_all()

    def _find(self, step: int, version: int) -> Beat | None:
        with self._changed:
            held = self._versions[version]
            if step < held.begin_step:
                return None
            self._changed.wait_for(lambda: self._abort_reason is not None or held.complete or step < held.end_step)
            if self._abort_reason is not None:
                raise EpochAbortedError(self._abort_reason)
            for segment in held.segments:
                if segment.begin_step <= step < segment.end_step:
                    return next((beat for beat in segment.beats() if beat.begin_step == step), None)
            return None

    def _begins_at(self, step: int, version: int) -> bool:
        with self._changed:
            return self._versions[version].begin_step == step

    def _ends_at(self, step: int, version: int) -> bool:
        with self._changed:
            held = self._versions[version]
            return held.complete and step == held.end_step
