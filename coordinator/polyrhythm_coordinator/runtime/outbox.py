"""One consumer's queue of things to be sent, with an end, and with a bound. Owns order, numbers and room, no more.

A consumer that does not read does not fill this process's memory: what waits for it is weighed, news that make older
news needless take their place, and beyond the bound the queue ends with an error, empty.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

from polyrhythm.errors import PolyrhythmError, ResourceExhaustedError
from polyrhythm.session.commands import AgentCommand
from polyrhythm.session.rendezvous import StoreReply

T = TypeVar("T")

ITEMS_MAX = 1 << 14
"""That wait; each is small where it is not weighed."""
MESSAGE_BYTES = 1 << 10
"""What a message counts that is not weighed: most are much smaller."""
AGENT_BYTES_MAX = 4 << 20
"""Commands are read at once; an agent that leaves so many of them waiting reads none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room(Generic[T]):
    """How much may wait for a consumer.

    Attributes:
        bytes_max: that may wait when something large begins; what has begun is taken whole.
        size_bytes: of an item, as far as it counts.
        begins: whether an item begins something large.
        news_of: what an item is the latest news of, so that older ones that still wait are needless; None where each
            one counts.
    """

    bytes_max: int
    size_bytes: Callable[[T], int]
    begins: Callable[[T], bool]
    news_of: Callable[[T], Hashable | None]


class Outbox(Generic[T]):
    """A queue for one consumer. One event loop only.

    Args:
        room: for what waits.
        on_leave: is called with each item that leaves the queue, read or not.
    """

    def __init__(self, room: Room[T], *, on_leave: Callable[[T], None] = lambda _: None) -> None:
        self._room = room
        self._on_leave = on_leave
        self._waiting: OrderedDict[int, T] = OrderedDict()
        self._news: dict[Hashable, int] = {}
        self._numbers = count(1)
        self._bytes = 0
        self._ended = False
        self._error: PolyrhythmError | None = None
        self._changed = asyncio.Event()
        self._behind = asyncio.Event()

    @property
    def waiting_bytes(self) -> int:
        """What waits, as it is weighed."""
        return self._bytes

    @property
    def room_bytes(self) -> int:
        """What may wait when something large begins."""
        return self._room.bytes_max

    def move_to(self, room: Room[T]) -> None:
        """Another room from now on: what the consumer is to be sent has become known. It weighs as the one before."""
        self._room = room

    def put(self, item: T) -> bool:
        """Adds an item under the next number; nothing follows an end.

        Returns:
            False if the consumer has fallen behind just now: the queue has ended and is empty.
        """
        if self._ended:
            self._on_leave(item)
            return True
        news = self._room.news_of(item)
        if news is not None and news in self._news:
            self._remove(self._news[news])
        number = next(self._numbers)
        self._waiting[number] = item
        full = self._bytes > self._room.bytes_max and self._room.begins(item)
        self._bytes += self._room.size_bytes(item)
        if news is not None:
            self._news[news] = number
        if full or len(self._waiting) > ITEMS_MAX:
            message = f"{self._bytes >> 20} MiB in {len(self._waiting)} messages wait to be read; no more is kept"
            self.give_up(ResourceExhaustedError(message))
            return False
        self._changed.set()
        return True

    def end(self, error: PolyrhythmError | None = None) -> None:
        """Ends the queue behind what is in it, well or with an error; the first end counts."""
        if not self._ended:
            self._ended, self._error = True, error
            self._changed.set()

    def give_up(self, error: PolyrhythmError | None = None) -> None:
        """Ends the queue at once: what is in it is sent to nobody."""
        self.end(error)
        for number in tuple(self._waiting):
            self._remove(number)
        self._behind.set()

    async def given_up(self) -> None:
        """Returns once the queue has ended before its time."""
        await self._behind.wait()

    async def numbered(self, since: int = 0) -> AsyncIterator[tuple[int, T]]:
        """Items in order with their numbers, each until the next one is asked for.

        Args:
            since: the lowest number that is wanted; what has a lower one leaves the queue unread.

        Raises:
            PolyrhythmError: the error with which the queue ended.
        """
        while True:
            while self._waiting:
                number, item = next(iter(self._waiting.items()))
                if number >= since:
                    yield number, item
                self._remove(number)
            if self._ended:
                break
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[T]:
        """All items in order; ends as ``numbered`` does."""
        async for _, item in self.numbered():
            yield item

    def _remove(self, number: int) -> None:
        item = self._waiting.pop(number, None)
        if item is None:  # newer news have taken its place, or the queue was given up
            return
        self._bytes -= self._room.size_bytes(item)
        news = self._room.news_of(item)
        if news is not None:
            del self._news[news]
        self._on_leave(item)


def _command_bytes(command: AgentCommand) -> int:
    return MESSAGE_BYTES + (len(command.value) if isinstance(command, StoreReply) else 0)


AGENT_ROOM: Room[AgentCommand] = Room(
    bytes_max=AGENT_BYTES_MAX, size_bytes=_command_bytes, begins=lambda _: True, news_of=lambda _: None
)
