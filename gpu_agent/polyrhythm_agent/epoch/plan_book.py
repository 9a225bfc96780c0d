"""The plans of one epoch as they arrive. Shared by the step loop and the channel's thread.

A plan version may hold back its later segments; asking for a beat that has not arrived blocks until it does.
"""

from __future__ import annotations

import threading

from polyrhythm.plan.plan import Beat, Segment
from polyrhythm.plan.plan_versions import MISSING, PlanVersions
from polyrhythm_agent.errors import EpochAbortedError


class PlanBook:
    """All plan versions of one epoch. ``beat_at`` from one thread, the rest from any."""

    def __init__(self, *, version: int, segments: tuple[Segment, ...], complete: bool) -> None:
        self._changed = threading.Condition()
        self._versions = PlanVersions().extended(version, segments, complete=complete)
        self._abort_reason: str | None = None

    @property
    def newest_version(self) -> int:
        """Highest version of which at least one segment is held."""
        return self._versions.newest

    def extend(self, *, version: int, segments: tuple[Segment, ...], complete: bool) -> None:
        """Adds the following segments of a version, or the first ones of a new version.

        Raises:
            ValueError: a gap between segments, or no segments for a new version.
        """
        with self._changed:
            self._versions = self._versions.extended(version, segments, complete=complete)
            self._changed.notify_all()

    def beat_at(self, step: int, *, version: int, current_version: int) -> tuple[Beat | None, int]:
        """The beat that begins at a boundary, and the version that it belongs to; as ``PlanVersions.beat_at``.

        Raises:
            EpochAbortedError: the epoch ended; perhaps while waiting for a segment.
        """
        with self._changed:
            while self._abort_reason is None:
                beat, followed = self._versions.beat_at(step, version=version, current_version=current_version)
                if beat is not MISSING:
                    return beat, followed
                self._changed.wait()
            raise EpochAbortedError(self._abort_reason)

    def abort(self, reason: str) -> None:
        """Wakes whoever waits for a segment."""
        with self._changed:
            self._abort_reason = reason
            self._changed.notify_all()
