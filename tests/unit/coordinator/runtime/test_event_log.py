"""A job's log: pictures are read from the store when they are told, and a client that does not read fills no memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from polyrhythm.errors import ResourceExhaustedError
from polyrhythm.ids import AgentId
from polyrhythm.job.events import (
    ImageChunk,
    ImagePreviewed,
    ImageProgressed,
    JobDelayed,
    JobEvent,
    JobQueued,
    ModelPartLoaded,
)
from polyrhythm.job.picture_file import file_bytes_max
from polyrhythm.model.facts import ModelPart
from polyrhythm_coordinator.runtime.blob_store import MemoryBlobStore
from polyrhythm_coordinator.runtime.event_log import (
    CLIENT_BYTES_LEAST,
    CLIENT_BYTES_MAX,
    EventLog,
    LoggedEvent,
    client_room,
)
from polyrhythm_coordinator.runtime.outbox import ITEMS_MAX
from polyrhythm_coordinator.scheduling.state.effects import ImageKept, PreviewKept
from polyrhythm_coordinator.scheduling.state.events import BlobId

PART = bytes(1 << 20)
PICTURE_PARTS = 5


class Store(MemoryBlobStore):
    """A store that shares one part among all pictures."""

    def picture(self, index: int, parts: int = PICTURE_PARTS) -> ImageKept:
        """The whole file of a picture."""
        for _ in range(parts):
            assert self.append(BlobId(index), PART)
        return ImageKept(image_index=index, blob=BlobId(index), size_bytes=parts * len(PART))

    def preview(self, index: int, step: int, png: bytes = PART) -> PreviewKept:
        """A preview."""
        blob = BlobId(1000 * (index + 1) + step)
        assert self.append(blob, png)
        return PreviewKept(image_index=index, step=step, blob=blob, size_bytes=len(png))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def log(store: Store) -> EventLog:
    return EventLog(store)


async def read(log: EventLog) -> list[JobEvent]:
    return [event async for event in log]


async def test_a_picture_is_told_in_the_parts_in_which_it_is_kept_and_then_dropped(store: Store, log: EventLog) -> None:
    for data in (b"one", b"three", b"two"):
        store.append(BlobId(7), data)
    assert log.tell(ImageKept(image_index=2, blob=BlobId(7), size_bytes=11), 0.0)
    log.end()
    assert await read(log) == [
        ImageChunk(image_index=2, offset=0, data=b"one", last=False),
        ImageChunk(image_index=2, offset=3, data=b"three", last=False),
        ImageChunk(image_index=2, offset=8, data=b"two", last=True),
    ]
    assert store.kept_bytes == 0


async def test_a_client_that_does_not_read_has_no_more_held_for_it_than_its_room_and_one_picture(
    store: Store, log: EventLog
) -> None:
    """64 pictures to a client that has stopped: they are not kept for it."""
    most, told = 0, list[bool]()
    for index in range(64):
        told.append(log.tell(store.picture(index), 0.0))
        most = max(most, store.kept_bytes)
    assert told.count(False) == 1
    assert most <= CLIENT_BYTES_LEAST + 2 * PICTURE_PARTS * len(PART)
    assert log.waiting_bytes == store.kept_bytes == 0
    with pytest.raises(ResourceExhaustedError, match="MiB in"):
        await read(log)


async def test_a_client_that_reads_gets_every_picture(store: Store, log: EventLog) -> None:
    reading = asyncio.create_task(read(log))
    for index in range(64):
        assert log.tell(store.picture(index), 0.0)
        await asyncio.sleep(0)
    log.end()
    assert len(await reading) == 64 * PICTURE_PARTS
    assert store.kept_bytes == 0


async def test_one_picture_is_taken_whole_however_large_it_is(store: Store, log: EventLog) -> None:
    assert log.tell(store.picture(0, parts=2 * CLIENT_BYTES_LEAST // len(PART)), 0.0)


async def test_a_client_of_large_pictures_may_lag_by_some_of_them_and_no_further(store: Store, log: EventLog) -> None:
    """A room of 32 MiB is less than one such picture, so that whoever read at all was behind when the next came."""
    log.expect(4096, 4096, 4)
    assert CLIENT_BYTES_LEAST < log.room_bytes <= CLIENT_BYTES_MAX
    parts = file_bytes_max(4096, 4096) // len(PART)
    assert all(log.tell(store.picture(index, parts), 0.0) for index in range(4))
    log.end()
    assert len(await read(log)) == 4 * parts
    assert client_room(4096, 4096, 64).bytes_max == CLIENT_BYTES_MAX
    assert client_room(1024, 1024, 64).bytes_max == client_room(512, 512, 1).bytes_max == CLIENT_BYTES_LEAST


async def test_of_previews_progress_and_places_that_wait_the_newest_are_kept(store: Store, log: EventLog) -> None:
    for step in range(1000):
        log.tell(store.preview(0, step), 0.0)
        log.tell(ImageProgressed(image_index=0, step=step, steps=1000, left_s=1.0, agents=()), float(step))
        log.tell(JobQueued(position=1000 - step), 0.0)
    log.tell(store.preview(1, 0, b"x"), 0.0)
    assert store.kept_bytes == len(PART) + 1
    log.end()
    events = await read(log)
    steps = [(event.image_index, event.step) for event in events if isinstance(event, ImagePreviewed | ImageProgressed)]
    assert steps == [(0, 999), (0, 999), (1, 0)]
    assert [event for event in events if isinstance(event, JobQueued)] == [JobQueued(position=1)]
    assert [event.png for event in events if isinstance(event, ImagePreviewed)] == [PART, b"x"]
    assert store.kept_bytes == 0


async def test_an_agent_that_loads_without_end_leaves_its_client_room(log: EventLog) -> None:
    loaded = ModelPartLoaded(image_index=0, agent=AgentId("a"), part=ModelPart.AUTOENCODER, loading_s=1.0)
    assert all(log.tell(replace(loaded, loading_s=float(n)), 0.0) for n in range(ITEMS_MAX + 1))
    others = (replace(loaded, agent=AgentId("b")), replace(loaded, part=ModelPart.TEXT_ENCODER))
    assert all(log.tell(other, 0.0) for other in others)
    log.end()
    assert await read(log) == [replace(loaded, loading_s=float(ITEMS_MAX)), *others]


async def test_what_its_reader_leaves_behind_is_dropped_and_nothing_is_kept_for_it_any_more(
    store: Store, log: EventLog
) -> None:
    log.tell(store.picture(0), 0.0)
    await anext(aiter(log))
    log.tell(store.picture(1), 0.0)
    log.give_up()
    assert store.kept_bytes == 0
    log.tell(store.picture(2), 0.0)
    assert store.kept_bytes == 0


async def test_events_are_numbered_and_can_be_read_from_a_number_on(store: Store, log: EventLog) -> None:
    log.tell(JobDelayed(reason="one"), 0.0)
    log.tell(JobDelayed(reason="one"), 0.0)  # no news, and so without a number
    log.tell(store.picture(0, parts=2), 0.0)
    log.tell(JobDelayed(reason="two"), 0.0)
    log.end()
    events = [logged async for logged in log.read(since=2)]
    assert [logged.number for logged in events] == [2, 2, 3]
    assert events[-1] == LoggedEvent(number=3, event=JobDelayed(reason="two"))


async def test_progress_that_was_held_back_is_told_when_it_is_due(log: EventLog) -> None:
    def progress(step: int) -> ImageProgressed:
        return ImageProgressed(image_index=0, step=step, steps=10, left_s=1.0, agents=())

    log.tell(progress(0), 0.0)
    log.tell(progress(1), 0.1)
    assert log.tell_due(0.15)
    log.end()
    assert await read(log) == [progress(0)]
    later = EventLog(MemoryBlobStore())
    later.tell(progress(0), 0.0)
    later.tell(progress(1), 0.1)
    assert later.tell_due(0.3)
    later.end()
    assert await read(later) == [progress(1)]  # nobody had read the first one
