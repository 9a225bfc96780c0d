"""What waits for a consumer that does not read is bounded; whoever keeps up gets everything, in order."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from polyrhythm.errors import InternalError, ResourceExhaustedError
from polyrhythm.ids import AgentId
from polyrhythm.job.events import Delayed, ImageChunk, JobEvent, PartLoaded, Previewed, Progressed
from polyrhythm.job.picture_file import file_bytes_max
from polyrhythm.model.facts import ModelPart
from polyrhythm.session.messages import AgentCommand
from polyrhythm.session.rendezvous import StoreReply
from polyrhythm_coordinator.grpc_api.streaming import write_all
from polyrhythm_coordinator.runtime.outbox import ITEMS_MAX, Outbox
from polyrhythm_coordinator.runtime.outbox_limits import (
    AGENT_BYTES_MAX,
    AGENT_ROOM,
    CLIENT_BYTES_LEAST,
    CLIENT_BYTES_MAX,
    CLIENT_ROOM,
    client_room,
)

PART = bytes(1 << 20)
PICTURE_PARTS = 5


def client() -> Outbox[JobEvent]:
    return Outbox(CLIENT_ROOM)


def picture(index: int) -> list[JobEvent]:
    return [
        ImageChunk(image_index=index, offset=part * len(PART), data=PART, last=part == PICTURE_PARTS - 1)
        for part in range(PICTURE_PARTS)
    ]


async def read(outbox: Outbox[JobEvent]) -> list[JobEvent]:
    return [event async for event in outbox]


async def test_nothing_follows_the_end_of_an_outbox() -> None:
    outbox = client()
    outbox.put(Delayed(reason="1"))
    outbox.end()
    outbox.put(Delayed(reason="2"))
    outbox.end(InternalError("late"))
    assert await read(outbox) == [Delayed(reason="1")]


async def test_a_client_that_does_not_read_has_no_more_held_for_it_than_its_room_and_one_picture() -> None:
    """64 pictures to a client that has stopped: they are not kept for it."""
    outbox = client()
    most = taken = 0
    for index in range(64):
        for part in picture(index):
            taken += outbox.put(part)
            most = max(most, outbox.waiting_bytes)
    assert most <= CLIENT_BYTES_LEAST + 6 * len(PART)
    assert outbox.waiting_bytes == 0
    with pytest.raises(ResourceExhaustedError, match="MiB in"):
        await read(outbox)


async def test_a_client_that_reads_gets_every_picture() -> None:
    outbox = client()
    reading = asyncio.create_task(read(outbox))
    for index in range(64):
        assert all(outbox.put(part) for part in picture(index))
        await asyncio.sleep(0)
    outbox.end()
    assert len(await reading) == 64 * PICTURE_PARTS


async def test_one_picture_is_taken_whole_however_large_it_is() -> None:
    outbox = client()
    parts = 2 * CLIENT_BYTES_LEAST // len(PART)
    assert all(
        outbox.put(ImageChunk(image_index=0, offset=part * len(PART), data=PART, last=False)) for part in range(parts)
    )


async def test_a_client_of_large_pictures_may_lag_by_some_of_them_and_no_further() -> None:
    """A room of 32 MiB is less than one such picture, so that whoever read at all was behind when the next came."""
    outbox, room = client(), client_room(4096, 4096, 4)
    outbox.move_to(room)
    assert CLIENT_BYTES_LEAST < room.bytes_max <= CLIENT_BYTES_MAX
    parts = file_bytes_max(4096, 4096) // len(PART)
    large = [
        ImageChunk(image_index=index, offset=part * len(PART), data=PART, last=part == parts - 1)
        for index in range(4)
        for part in range(parts)
    ]
    assert all(outbox.put(part) for part in large)
    outbox.end()
    assert len(await read(outbox)) == len(large)
    assert client_room(4096, 4096, 64).bytes_max == CLIENT_BYTES_MAX
    assert client_room(1024, 1024, 64).bytes_max == client_room(512, 512, 1).bytes_max == CLIENT_BYTES_LEAST


async def test_of_previews_and_progress_that_wait_the_newest_are_kept() -> None:
    outbox = client()
    for step in range(1000):
        outbox.put(Previewed(image_index=0, step=step, png=PART))
        outbox.put(Progressed(image_index=0, step=step, steps=1000, left_s=1.0, agents=()))
    outbox.put(Previewed(image_index=1, step=0, png=b""))
    outbox.end()
    steps = [
        (event.image_index, event.step) for event in await read(outbox) if isinstance(event, Previewed | Progressed)
    ]
    assert steps == [(0, 999), (0, 999), (1, 0)]


async def test_an_agent_that_loads_without_end_leaves_its_client_room() -> None:
    outbox = client()
    loaded = PartLoaded(image_index=0, agent=AgentId("a"), part=ModelPart.AUTOENCODER, loading_s=1.0)
    assert all(outbox.put(replace(loaded, loading_s=float(n))) for n in range(ITEMS_MAX + 1))
    others = (replace(loaded, agent=AgentId("b")), replace(loaded, part=ModelPart.TEXT_ENCODER))
    assert all(outbox.put(other) for other in others)
    outbox.end()
    assert await read(outbox) == [replace(loaded, loading_s=float(ITEMS_MAX)), *others]


async def test_small_news_are_counted() -> None:
    outbox = client()
    put = [outbox.put(Delayed(reason="")) for _ in range(ITEMS_MAX + 1)]
    assert put == [True] * ITEMS_MAX + [False]


async def test_an_agent_that_does_not_read_its_answers_falls_behind() -> None:
    outbox: Outbox[AgentCommand] = Outbox(AGENT_ROOM)
    reply = StoreReply(request_id=1, value=PART[: 1 << 16], found=True)
    count = 0
    while outbox.put(reply):
        count += 1
    assert count * len(reply.value) <= AGENT_BYTES_MAX + len(reply.value)


async def test_a_write_that_never_ends_is_given_up_with_the_consumer() -> None:
    outbox = client()
    stuck = asyncio.Event()

    async def write(_: JobEvent) -> None:
        stuck.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(write_all(outbox, write))
    outbox.put(Delayed(reason=""))
    await stuck.wait()
    while outbox.put(Delayed(reason="")):
        pass
    with pytest.raises(ResourceExhaustedError):
        await asyncio.wait_for(writing, 10)
