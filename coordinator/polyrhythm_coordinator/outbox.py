"""One consumer's queue of things to be sent, with an end. Owns nothing but order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from polyrhythm.errors import PolyrhythmError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _End:
    error: PolyrhythmError | None


class Outbox(Generic[T]):
    """Unbounded: what is put in is small and bounded by what agents send. One event loop only."""

    def __init__(self) -> None:
        self._items: asyncio.Queue[T | _End] = asyncio.Queue()
        self._ended = False

    def put(self, item: T) -> None:
        """Adds an item; nothing follows an end."""
        if not self._ended:
            self._items.put_nowait(item)

    def end(self, error: PolyrhythmError | None = None) -> None:
        """Ends the queue behind what is in it, well or with an error; the first end counts."""
        if not self._ended:
            self._ended = True
            self._items.put_nowait(_End(error))

    async def __aiter__(self) -> AsyncIterator[T]:
        """All items in order.

        Raises:
            PolyrhythmError: the error with which the queue ended.
        """
        while True:
            item = await self._items.get()
            if not isinstance(item, _End):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                return
