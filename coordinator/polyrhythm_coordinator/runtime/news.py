"""Which facts of a job are news for its client. Owns what the client was told last, and how often it is told."""

from __future__ import annotations

from polyrhythm.job.events import (
    ImageCompleted,
    ImagePlanned,
    ImageProgressed,
    ImageReplanned,
    JobDelayed,
    JobQueued,
    ProfilingProgressed,
)
from polyrhythm_coordinator.scheduling.state.effects import JobFact

PROGRESS_INTERVAL_S = 0.2
"""Between two reports of progress of a picture; its beginning and its end are told at once."""


class News:
    """What one job's client knows."""

    def __init__(self) -> None:
        self._position: int | None = None
        self._waits_for: dict[int | None, JobDelayed | ProfilingProgressed] = {}
        self._progress: dict[int, tuple[int, float]] = {}
        self._held_back: dict[int, ImageProgressed] = {}

    def is_new(self, fact: JobFact, now_s: float, image_index: int | None = None) -> bool:
        """Whether a fact is to be told now.

        Args:
            fact: what is so.
            now_s: the present.
            image_index: of which picture, where the fact does not say.
        """
        match fact:
            case JobQueued(position=position):
                known, self._position = self._position, position
                return position != known
            case JobDelayed() | ProfilingProgressed():
                return self._is_wait(fact, image_index)
            case ImageProgressed():
                return self._is_progress(fact, now_s)
            case ImagePlanned(image_index=index) | ImageReplanned(image_index=index):
                self._forget(index)
            case ImageCompleted(report=report):
                self._forget(report.image_index)
            case _:
                pass
        return True

    def due(self, now_s: float) -> tuple[ImageProgressed, ...]:
        """Progress that was held back because the last one was told just before, and is to be told now."""
        return tuple(fact for fact in tuple(self._held_back.values()) if self.is_new(fact, now_s))

    def _is_wait(self, fact: JobDelayed | ProfilingProgressed, image_index: int | None) -> bool:
        known = self._waits_for.get(image_index)
        if fact == known:
            return False
        if isinstance(fact, ProfilingProgressed) and isinstance(known, ProfilingProgressed):
            same_size = (fact.width_px, fact.height_px) == (known.width_px, known.height_px)
            if same_size and set(fact.agents) < set(known.agents):
                return False  # some are done, and nobody has begun
        self._waits_for[image_index] = fact
        return True

    def _is_progress(self, fact: ImageProgressed, now_s: float) -> bool:
        index = fact.image_index
        if index in self._progress:
            step, told_s = self._progress[index]
            if fact.step <= step:
                return False
            if now_s < told_s + PROGRESS_INTERVAL_S and fact.step < fact.steps:
                self._held_back[index] = fact
                return False
        self._held_back.pop(index, None)
        self._progress[index] = fact.step, now_s
        return True

    def _forget(self, image_index: int) -> None:
        """A plan is another beginning: whatever is said of the picture next is told."""
        for known in (self._waits_for, self._progress, self._held_back):
            known.pop(image_index, None)
