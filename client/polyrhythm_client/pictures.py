"""Pictures put together from a job's events. Pure: no network, no files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from polyrhythm.errors import WireError
from polyrhythm.job.events import ImageChunk, ImageCompleted, JobEvent, Planned, Replanned, ReplanReason
from polyrhythm.job.reports import JobReport
from polyrhythm.plan.explanation import Explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A finished picture.

    Attributes:
        png: the file as the fleet made it.
        report: what it took.
        explanation: why the first plan was chosen; None if the coordinator announced none.
        replans: how many newer plans it followed, by reason.
    """

    png: bytes
    report: JobReport
    explanation: Explanation | None
    replans: Mapping[ReplanReason, int] = field(default_factory=dict[ReplanReason, int])


class PictureAssembler:
    """Collects the chunks of each picture until its account arrives."""

    def __init__(self) -> None:
        self._files: dict[int, bytearray] = {}
        self._complete: set[int] = set()
        self._explanations: dict[int, Explanation] = {}
        self._replans: dict[int, Counter[ReplanReason]] = {}

    def take(self, event: JobEvent) -> Picture | None:
        """Takes the next event of a job.

        Returns:
            A picture, if this event completed one.

        Raises:
            WireError: chunks do not follow one another, or a picture is called complete without its last one.
        """
        match event:
            case Planned(image_index=index, explanation=explanation):
                self._explanations.setdefault(index, explanation)
            case Replanned(image_index=index, reason=reason):
                self._replans.setdefault(index, Counter())[reason] += 1
            case ImageChunk():
                self._append(event)
            case ImageCompleted(report=report):
                return self._finish(report)
            case _:
                pass
        return None

    def _append(self, chunk: ImageChunk) -> None:
        if chunk.offset == 0:
            # The first chunk, or the first after the decoding agent was lost and another one began anew.
            self._files[chunk.image_index] = bytearray()
            self._complete.discard(chunk.image_index)
        png = self._files.get(chunk.image_index, bytearray())
        if chunk.offset != len(png):
            raise WireError(f"image_chunk.offset: expected {len(png)}, got {chunk.offset}")
        png += chunk.data
        if chunk.last:
            self._complete.add(chunk.image_index)

    def _finish(self, report: JobReport) -> Picture:
        index = report.image_index
        if index not in self._complete:
            raise WireError(f"image_completed: picture {index} is called complete without its last chunk")
        return Picture(
            png=bytes(self._files.pop(index)),
            report=report,
            explanation=self._explanations.pop(index, None),
            replans=dict(self._replans.pop(index, {})),
        )
