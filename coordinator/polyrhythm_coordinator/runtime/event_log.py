"""What the client of one job is told: news in order, each with a number, with an end and within bounds.

Pictures lie in the blob store and are read from there when they are told. One reader a job: what it has read is
forgotten, and it may begin at any number that is still there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Iterator
from dataclasses import dataclass, replace

from polyrhythm.errors import PolyrhythmError
from polyrhythm.job.events import ImageChunk, ImagePreviewed, ImageProgressed, JobEvent, JobQueued, ModelPartLoaded
from polyrhythm.job.picture_file import file_bytes_max
from polyrhythm_coordinator.runtime.blob_store import BlobStore
from polyrhythm_coordinator.runtime.news import News
from polyrhythm_coordinator.runtime.outbox import MESSAGE_BYTES, Outbox, Room
from polyrhythm_coordinator.scheduling.state.effects import ImageKept, JobFact, PreviewKept

CLIENT_BYTES_LEAST = 32 << 20
"""Of pictures of a client that wait when the next is done: a slow network may lag by some, and nobody by all, ..."""
PICTURES_MAX = 8
"""... large pictures are fewer, but several devices may end theirs before the first is through, ..."""
CLIENT_BYTES_MAX = 256 << 20
"""... and so much is enough for anybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent:
    """One event of a job.

    Attributes:
        number: of the news that it belongs to, ascending; parts of one picture have the same one.
        event: as its client is told.
    """

    number: int
    event: JobEvent


class EventLog:
    """The log of one job. One event loop only.

    Args:
        blobs: where its pictures lie.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._news = News()
        self._queue: Outbox[JobFact] = Outbox(CLIENT_ROOM, on_leave=self._drop)

    @property
    def waiting_bytes(self) -> int:
        """What waits to be read, as it is weighed."""
        return self._queue.waiting_bytes

    @property
    def room_bytes(self) -> int:
        """What may wait when another picture is done."""
        return self._queue.room_bytes

    def expect(self, width_px: int, height_px: int, count: int) -> None:
        """Makes room for so many pictures of a size."""
        self._queue.move_to(client_room(width_px, height_px, count))

    def tell(self, fact: JobFact, now_s: float, image_index: int | None = None) -> bool:
        """Adds a fact, if it is news.

        Returns:
            False if the reader has fallen behind just now: the log has ended and is empty.
        """
        return not self._news.is_new(fact, now_s, image_index) or self._queue.put(fact)

    def tell_due(self, now_s: float) -> bool:
        """Adds what was held back until now; returns as ``tell`` does."""
        return all(self._queue.put(fact) for fact in self._news.due(now_s))

    def end(self, error: PolyrhythmError | None = None) -> None:
        """Ends the log behind what is in it, well or with an error; the first end counts."""
        self._queue.end(error)

    def give_up(self, error: PolyrhythmError | None = None) -> None:
        """Ends the log at once: nobody reads what is in it."""
        self._queue.give_up(error)

    async def given_up(self) -> None:
        """Returns once the log has ended before its time."""
        await self._queue.given_up()

    async def read(self, since: int = 0) -> AsyncIterator[LoggedEvent]:
        """Events in order, from a number on.

        Raises:
            PolyrhythmError: the error with which the log ended.
        """
        async for number, fact in self._queue.numbered(since):
            for event in events_of(fact, self._blobs):
                yield LoggedEvent(number=number, event=event)

    async def __aiter__(self) -> AsyncIterator[JobEvent]:
        """All events in order; ends as ``read`` does."""
        async for logged in self.read():
            yield logged.event

    def _drop(self, fact: JobFact) -> None:
        if isinstance(fact, ImageKept | PreviewKept):
            self._blobs.drop(fact.blob)


def events_of(fact: JobFact, blobs: BlobStore) -> Iterator[JobEvent]:
    """A fact as clients are told: with its bytes, a picture's in parts."""
    match fact:
        case ImageKept(image_index=index, blob=blob):
            offset, parts = 0, blobs.parts(blob)
            for number, data in enumerate(parts, start=1):
                yield ImageChunk(image_index=index, offset=offset, data=data, last=number == len(parts))
                offset += len(data)
        case PreviewKept(image_index=index, step=step, blob=blob):
            yield ImagePreviewed(image_index=index, step=step, png=b"".join(blobs.parts(blob)))
        case _:
            yield fact


def client_room(width_px: int, height_px: int, count: int) -> Room[JobFact]:
    """The room of a client that waits for pictures: for some of them, within bounds.

    Args:
        width_px: of each.
        height_px: of each.
        count: how many.
    """
    some_bytes = min(count, PICTURES_MAX) * file_bytes_max(width_px, height_px)
    return replace(CLIENT_ROOM, bytes_max=min(max(CLIENT_BYTES_LEAST, some_bytes), CLIENT_BYTES_MAX))


def _fact_bytes(fact: JobFact) -> int:
    return MESSAGE_BYTES + (fact.size_bytes if isinstance(fact, ImageKept | PreviewKept) else 0)


def _subject(fact: JobFact) -> Hashable | None:
    match fact:
        case PreviewKept(image_index=index) | ImageProgressed(image_index=index):
            return type(fact), index
        case ModelPartLoaded(image_index=index, agent=agent, part=part):  # an agent may say so without end
            return type(fact), index, agent, part
        case JobQueued():
            return type(fact)
        case _:
            return None


CLIENT_ROOM: Room[JobFact] = Room(
    bytes_max=CLIENT_BYTES_LEAST,
    size_bytes=_fact_bytes,
    begins=lambda fact: isinstance(fact, ImageKept),
    news_of=_subject,
)
"""Of a client of whom it is not known yet what it asks for."""
