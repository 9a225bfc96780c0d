"""One consumer's queue of things to be sent, with an end, and with a bound. Owns order and room, and nothing else.

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

T = TypeVar("T")

ITEMS_MAX = 1 << 14
"""That wait: more than the largest picture has parts, and each is small where it is not weighed."""


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
    """A queue for one consumer. One event loop only."""

    def __init__(self, room: Room[T]) -> None:
        self._room = room
        self._waiting: OrderedDict[int, T] = OrderedDict()
        self._news: dict[Hashable, int] = {}
        self._numbers = count()
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
        """Adds an item; nothing follows an end.

        Returns:
            False if the consumer has fallen behind just now: the queue has ended and is empty.
        """
        if self._ended:
            return True
        news = self._room.news_of(item)
        if news is not None and news in self._news:
            self._take(self._news[news])
        full = self._bytes > self._room.bytes_max and self._room.begins(item)
        if full or len(self._waiting) >= ITEMS_MAX:
            self._fall_behind()
            return False
        number = next(self._numbers)
        self._waiting[number] = item
        self._bytes += self._room.size_bytes(item)
        if news is not None:
            self._news[news] = number
        self._changed.set()
        return True

    def end(self, error: PolyrhythmError | None = None) -> None:
        """Ends the queue behind what is in it, well or with an error; the first end counts."""
        if not self._ended:
            self._ended, self._error = True, error
            self._changed.set()

    async def fallen_behind(self) -> None:
        """Returns once more was to wait than there is room for."""
        await self._behind.wait()

    async def __aiter__(self) -> AsyncIterator[T]:
        """All items in order.

        Raises:
            PolyrhythmError: the error with which the queue ended.
        """
        while True:
            while self._waiting:
                yield self._take(next(iter(self._waiting)))
            if self._ended:
                break
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None:
            raise self._error

    def _take(self, number: int) -> T:
        item = self._waiting.pop(number)
        self._bytes -= self._room.size_bytes(item)
        news = self._room.news_of(item)
        if news is not None:
            del self._news[news]
        return item

    def _fall_behind(self) -> None:
        told = f"{self._bytes >> 20} MiB in {len(self._waiting)} messages wait to be read; no more is kept"
        self._waiting.clear()
        self._news.clear()
        self._bytes = 0
        self.end(ResourceExhaustedError(told))
        self._behind.set()
