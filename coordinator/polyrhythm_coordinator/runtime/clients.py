"""Clients' side of the core: the logs of all jobs that go on, and the bytes of their pictures.

Carries out what the core wants told, kept and dropped. Whoever does not read, or whose pictures find no room, is cut
off by whoever owns the jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import assert_never

from polyrhythm.errors import PolyrhythmError, ResourceExhaustedError
from polyrhythm.ids import JobId
from polyrhythm.session.events import AgentEvent, AgentReport, ImageMade, PreviewMade
from polyrhythm_coordinator.runtime.blob_store import BlobStore, reference_to
from polyrhythm_coordinator.runtime.event_log import EventLog
from polyrhythm_coordinator.scheduling.state.effects import (
    DropBytes,
    EndJob,
    FailJob,
    JobFact,
    KeepBytes,
    RefuseJob,
    Tell,
)
from polyrhythm_coordinator.scheduling.state.epoch import IncompleteFile
from polyrhythm_coordinator.scheduling.state.events import BlobId, ImagePartReceived, PreviewReceived


class Clients:
    """All clients whose jobs go on.

    Args:
        blobs: where bytes are kept.
        clock: seconds on a clock that never runs backwards.
        cut_off: is to end a job, with the error.
    """

    def __init__(
        self, *, blobs: BlobStore, clock: Callable[[], float], cut_off: Callable[[JobId, PolyrhythmError], None]
    ) -> None:
        self._blobs = blobs
        self._clock = clock
        self._cut_off = cut_off
        self._logs: dict[JobId, EventLog] = {}
        self._numbers = count(1)
        self._arrived = b""

    def __contains__(self, job: JobId) -> bool:
        return job in self._logs

    def open(self, job: JobId) -> EventLog:
        """The log of a new job."""
        log = self._logs[job] = EventLog(self._blobs)
        return log

    def log(self, job: JobId) -> EventLog:
        """The log of a job that goes on.

        Raises:
            KeyError: it does not.
        """
        return self._logs[job]

    def reference(
        self, event: AgentEvent, file: IncompleteFile | None
    ) -> AgentReport | PreviewReceived | ImagePartReceived:
        """What the core is told of what an agent says; bytes are at hand until the next one.

        Args:
            event: that has come.
            file: that a part of a picture belongs to, as far as it has come.
        """
        match event:
            case ImageMade(data=data):
                self._arrived = data
                before = () if file is None else self._blobs.parts(file.blob)
                return reference_to(event, BlobId(next(self._numbers)), before)
            case PreviewMade(png=png):
                self._arrived = png
                return reference_to(event, BlobId(next(self._numbers)), ())
            case _:
                return event

    def carry_out(self, effect: KeepBytes | DropBytes | Tell | RefuseJob | EndJob | FailJob) -> None:
        """Does what the core wants."""
        match effect:
            case KeepBytes(job=job, blob=blob):
                if not self._blobs.append(blob, self._arrived):
                    error = ResourceExhaustedError("more pictures wait for clients than the coordinator keeps")
                    self._logs[job].give_up(error)
                    self._cut_off(job, error)
            case DropBytes(blob=blob):
                self._blobs.drop(blob)
            case Tell(job=job, fact=fact, image_index=image_index):
                self.tell(job, fact, image_index)
            case RefuseJob(job=job, error=error) | FailJob(job=job, error=error):
                self.end(job, error)
            case EndJob(job=job):
                self.end(job, None)
            case _:
                assert_never(effect)

    def tell(self, job: JobId, fact: JobFact, image_index: int | None = None) -> None:
        """Says a fact to a job's client, if it is news."""
        if not self._logs[job].tell(fact, self._clock(), image_index):
            self._cut_off_deaf(job)

    def tell_due(self) -> None:
        """Says what was held back until now."""
        now_s = self._clock()
        for job, log in self._logs.items():
            if not log.tell_due(now_s):
                self._cut_off_deaf(job)

    def end(self, job: JobId, error: PolyrhythmError | None) -> None:
        """Nothing more is told of a job."""
        self._logs.pop(job).end(error)

    def _cut_off_deaf(self, job: JobId) -> None:
        self._cut_off(job, ResourceExhaustedError("the client does not read what it is told"))
