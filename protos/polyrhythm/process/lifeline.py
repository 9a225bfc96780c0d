"""A pipe whose other end is held by the process that started this one: when it ends, this process ends too.

Nothing is ever written to it. It breaks however the holder dies, SIGKILL included, so that no child is left behind.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from polyrhythm.errors import InvalidArgumentError

_READ_BYTES = 4096


def watch_lifeline(fd: int, on_end: Callable[[], None]) -> None:
    """Calls back once, on the running event loop, when the other end of the pipe is closed.

    Raises:
        InvalidArgumentError: the descriptor is not an open pipe or socket.
    """
    loop = asyncio.get_running_loop()

    def readable() -> None:
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a broken pipe is an end as well
        if not data:
            loop.remove_reader(fd)
            os.close(fd)
            on_end()

    try:
        os.set_blocking(fd, False)
        loop.add_reader(fd, readable)
    except (OSError, ValueError) as error:
        raise InvalidArgumentError.of("--lifeline-fd", f"{fd} is not an open pipe: {error}") from error
