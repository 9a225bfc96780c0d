"""Writes an outbox to a stream for as long as the other side reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from polyrhythm_coordinator.runtime.outbox import Outbox

T = TypeVar("T")


async def write_all(outbox: Outbox[T], write: Callable[[T], Awaitable[None]]) -> None:
    """Writes all items in order; whoever has fallen behind is not waited for.

    Args:
        outbox: what is to be written.
        write: one item; waits for as long as the transport is full.

    Raises:
        PolyrhythmError: the error with which the queue ended.
    """

    async def write_each() -> None:
        async for item in outbox:
            await write(item)

    writing = asyncio.ensure_future(write_each())
    behind = asyncio.ensure_future(outbox.fallen_behind())
    try:
        await asyncio.wait((writing, behind), return_when=asyncio.FIRST_COMPLETED)
        if not writing.done():
            writing.cancel()
            async for _ in outbox:  # empty: only its error is left
                pass
        await writing
    finally:
        for task in (writing, behind):
            task.cancel()
        await asyncio.gather(writing, behind, return_exceptions=True)
