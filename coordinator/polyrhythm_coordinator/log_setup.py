"""Where the coordinator's log goes, and what becomes of a line that cannot be written. Knows not what is logged."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

import structlog


class ForgivingLogger(structlog.PrintLogger):
    """Drops a line that cannot be written: a full disk, or a pipe without a reader, is no reason to drop jobs."""

    def msg(self, message: str) -> None:
        """Prints a line, if it can be."""
        with suppress(OSError):
            super().msg(message)

    # The base class binds these names to its own method.
    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def log_to_stderr(level: str) -> None:
    """Sends what is logged at a level, or above it, to standard error.

    Args:
        level: debug, info, warning or error.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            # Plain: rich would print the values of all variables, prompts among them.
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: ForgivingLogger(sys.stderr),
    )
