"""Prints log lines as long as something takes them.

On a full disk, or when the reader has died, lines are lost: a log must not end what it tells of.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Lock
from typing import TextIO

_ONE_LINE_AT_A_TIME = Lock()
"""Of all loggers of a process: each line is printed by a logger of its own."""


class ForgivingLogger:
    """What structlog prints rendered lines with: a method a level, all alike.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, message: str) -> None:
        """Prints a line, if that is possible."""
        with _ONE_LINE_AT_A_TIME, suppress(OSError):
            print(message, file=self._stream, flush=True)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg
