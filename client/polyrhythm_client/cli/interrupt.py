"""Runs the work of a command; Ctrl-C and SIGTERM cancel it, so that everything it started is ended first."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_until_signal(work: Coroutine[Any, Any, int]) -> int:
    """Runs work to its end or to the first signal.

    Returns:
        Its exit code; 128 plus the number of the signal that ended it, as shells do: 130 for Ctrl-C.
    """
    return asyncio.run(_supervised(work))


async def beside_signals(work: Callable[[], T]) -> T:
    """Does work that may wait for ever, such as for the writer of a pipe, while signals are still heeded.

    If this is cancelled, the work is not waited for, and ends with the process.

    Raises:
        Exception: what the work raises.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            done.set_exception(error)

    done.set_running_or_notify_cancel()
    Thread(target=run, name="beside signals", daemon=True).start()
    return await asyncio.wrap_future(done)


async def _supervised(work: Coroutine[Any, Any, int]) -> int:
    received: list[signal.Signals] = []
    task = asyncio.create_task(work)

    def stop(number: signal.Signals) -> None:
        # Once is enough: cleaning up takes seconds at most, and a second Ctrl-C must not interrupt it.
        if not received:
            received.append(number)
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
