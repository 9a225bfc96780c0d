"""Jobs beyond this process: what was accepted, and what has become of it. A port, and an adapter that only remembers.

Writes of one job keep their order. Owns no decision: the core says what is stored, and accepts nothing before it is.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from polyrhythm.errors import AlreadyInUseError, PolyrhythmError
from polyrhythm.ids import JobId
from polyrhythm.job.image import ImageRequest, ImageSpec
from polyrhythm_coordinator.scheduling.state.effects import StoreJob

STORE_TIMEOUT_S = 10.0
"""A client waits for its acceptance, and a coordinator that stops for all ends: a store that hangs keeps neither."""
ENDED_MAX = 64
"""Jobs that have ended and are remembered; a prompt may be as long as a message."""

log = structlog.get_logger("polyrhythm.coordinator")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """One job.

    Attributes:
        request: as its client wrote it.
        image: its first picture, with nothing left open.
        ended: whether it has.
        error: with which it ended; None if it did well, or goes on.
    """

    request: ImageRequest
    image: ImageSpec
    ended: bool = False
    error: PolyrhythmError | None = None


class JobStore(Protocol):
    """A port: what a method has written is there when it returns, however this process ends."""

    async def add(self, job: JobId, request: ImageRequest, image: ImageSpec) -> None:
        """Keeps a job that goes on.

        Raises:
            AlreadyInUseError: there is one of this name.
            PolyrhythmError: it cannot be kept.
        """
        ...

    async def end(self, job: JobId, error: PolyrhythmError | None) -> None:
        """Notes how a job has ended; the first end counts. One that is not known has none.

        Raises:
            PolyrhythmError: it cannot be noted.
        """
        ...

    async def find(self, job: JobId) -> StoredJob | None:
        """A job, if it is known."""
        ...


class MemoryJobStore:
    """Remembers jobs as long as this process lives, and some that have ended."""

    def __init__(self) -> None:
        self._jobs: dict[JobId, StoredJob] = {}
        self._ended: dict[JobId, StoredJob] = {}

    async def add(self, job: JobId, request: ImageRequest, image: ImageSpec) -> None:
        """Remembers a job."""
        if await self.find(job) is not None:
            raise AlreadyInUseError(f"there is a job named {job}")
        self._jobs[job] = StoredJob(request=request, image=image)

    async def end(self, job: JobId, error: PolyrhythmError | None) -> None:
        """Notes an end, and forgets the oldest."""
        stored = self._jobs.pop(job, None)
        if stored is None:
            return
        self._ended[job] = replace(stored, ended=True, error=error)
        if len(self._ended) > ENDED_MAX:
            del self._ended[next(iter(self._ended))]

    async def find(self, job: JobId) -> StoredJob | None:
        """What is remembered of a job."""
        return self._jobs.get(job) or self._ended.get(job)


class JobWriter:
    """Writes jobs to a store: acceptances, which somebody waits for, and ends, for which nobody does.

    Args:
        store: to write to.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._added: dict[JobId, asyncio.Task[None]] = {}
        self._ends: set[asyncio.Task[None]] = set()

    def add(self, effect: StoreJob) -> asyncio.Task[None]:
        """Begins to store a job.

        Returns:
            What ends once it is stored, with an error if it cannot be.
        """
        added = self._added[effect.job] = asyncio.ensure_future(self._add(effect))
        return added

    def end(self, job: JobId, error: PolyrhythmError | None) -> None:
        """Has the end of a job stored, behind the job itself; nothing where that was never to be."""
        added = self._added.pop(job, None)
        if added is not None:
            ending = asyncio.ensure_future(self._end(added, job, error))
            self._ends.add(ending)
            ending.add_done_callback(self._note_end)

    async def settled(self) -> None:
        """Returns once all ends are stored."""
        await asyncio.gather(*self._ends, return_exceptions=True)

    async def _add(self, effect: StoreJob) -> None:
        async with asyncio.timeout(STORE_TIMEOUT_S):
            await self._store.add(effect.job, effect.request, effect.image)

    async def _end(self, added: asyncio.Task[None], job: JobId, error: PolyrhythmError | None) -> None:
        await asyncio.wait((added,))
        async with asyncio.timeout(STORE_TIMEOUT_S):
            await self._store.end(job, error)

    def _note_end(self, ending: asyncio.Task[None]) -> None:
        self._ends.discard(ending)
        if not ending.cancelled() and (error := ending.exception()) is not None:
            log.error("the end of a job could not be stored", exc_info=error)
