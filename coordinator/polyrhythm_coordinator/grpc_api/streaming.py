"""Writes what waits for one consumer to its stream, for as long as the other side reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Waiting(Protocol[T_co]):
    """Things to be sent, in order, until an end that may come before its time."""

    def __aiter__(self) -> AsyncIterator[T_co]:
        """All of them."""
        ...

    async def given_up(self) -> None:
        """Returns once nothing more is to be sent."""
        ...


async def write_all(waiting: Waiting[T], write: Callable[[T], Awaitable[None]]) -> None:
    """Writes all things in order; whoever has fallen behind is not waited for.

    Args:
        waiting: what is to be written.
        write: one thing; waits for as long as the transport is full.

    Raises:
        PolyrhythmError: the error with which it ended.
    """

    async def write_each() -> None:
        async for item in waiting:
            await write(item)

    writing = asyncio.ensure_future(write_each())
    behind = asyncio.ensure_future(waiting.given_up())
    try:
        await asyncio.wait((writing, behind), return_when=asyncio.FIRST_COMPLETED)
        if not writing.done():
            writing.cancel()
            async for _ in waiting:  # empty: only its error is left
                pass
        await writing
    finally:
        for task in (writing, behind):
            task.cancel()
        await asyncio.gather(writing, behind, return_exceptions=True)
