"""What waits for a consumer that does not read is bounded; whoever keeps up gets everything, in order."""

from __future__ import annotations

import asyncio

import pytest

from polyrhythm.errors import InternalError, ResourceExhaustedError
from polyrhythm.session.commands import AgentCommand
from polyrhythm.session.rendezvous import StoreReply
from polyrhythm_coordinator.grpc_api.streaming import write_all
from polyrhythm_coordinator.runtime.outbox import AGENT_BYTES_MAX, AGENT_ROOM, ITEMS_MAX, Outbox, Room

NEWS = 100
ROOM: Room[int] = Room(
    bytes_max=1 << 20,
    size_bytes=lambda item: item,
    begins=lambda _: False,
    news_of=lambda item: "news" if item >= NEWS else None,
)
"""Of numbers that weigh themselves; large ones are news."""


async def read(outbox: Outbox[int]) -> list[int]:
    return [item async for item in outbox]


async def test_nothing_follows_the_end_of_an_outbox() -> None:
    left: list[int] = []
    outbox = Outbox(ROOM, on_leave=left.append)
    outbox.put(1)
    outbox.end()
    outbox.put(2)
    outbox.end(InternalError("late"))
    assert await read(outbox) == [1]
    assert left == [2, 1]


async def test_the_newest_news_take_the_place_of_older_ones() -> None:
    left: list[int] = []
    outbox = Outbox(ROOM, on_leave=left.append)
    for item in (1, NEWS, 2, NEWS + 1):
        outbox.put(item)
    outbox.end()
    assert [numbered async for numbered in outbox.numbered()] == [(1, 1), (3, 2), (4, NEWS + 1)]
    assert left == [NEWS, 1, 2, NEWS + 1]


async def test_a_reader_may_begin_at_any_number() -> None:
    outbox = Outbox(ROOM)
    for item in (1, 2, 3, 4):
        outbox.put(item)
    outbox.end()
    assert [number async for number, _ in outbox.numbered(since=3)] == [3, 4]
    assert outbox.waiting_bytes == 0


async def test_what_is_not_read_to_its_end_is_there_for_the_next_reader() -> None:
    outbox = Outbox(ROOM)
    outbox.put(1)
    outbox.put(2)
    outbox.end()
    reading = outbox.numbered()
    assert [await anext(reading), await anext(reading)] == [(1, 1), (2, 2)]
    assert outbox.waiting_bytes == 2
    assert await read(outbox) == [2]


async def test_what_is_given_up_is_read_by_nobody() -> None:
    left: list[int] = []
    outbox = Outbox(ROOM, on_leave=left.append)
    outbox.put(1)
    outbox.give_up(InternalError("enough"))
    assert left == [1]
    with pytest.raises(InternalError, match="enough"):
        await read(outbox)


async def test_small_items_are_counted() -> None:
    outbox = Outbox(ROOM)
    put = [outbox.put(0) for _ in range(ITEMS_MAX + 1)]
    assert put == [True] * ITEMS_MAX + [False]
    with pytest.raises(ResourceExhaustedError, match="wait to be read"):
        await read(outbox)


async def test_an_agent_that_does_not_read_its_answers_falls_behind() -> None:
    outbox: Outbox[AgentCommand] = Outbox(AGENT_ROOM)
    reply = StoreReply(request_id=1, value=bytes(1 << 16), found=True)
    count = 0
    while outbox.put(reply):
        count += 1
    assert count * len(reply.value) <= AGENT_BYTES_MAX + len(reply.value)


async def test_a_write_that_never_ends_is_given_up_with_the_consumer() -> None:
    outbox = Outbox(ROOM)
    stuck = asyncio.Event()

    async def write(_: int) -> None:
        stuck.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(write_all(outbox, write))
    outbox.put(0)
    await stuck.wait()
    while outbox.put(0):
        pass
    with pytest.raises(ResourceExhaustedError):
        await asyncio.wait_for(writing, 10)
