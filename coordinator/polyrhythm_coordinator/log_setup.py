"""How the coordinator logs: one line an event, to standard error. Knows not what is logged."""

from __future__ import annotations

import logging
import sys

import structlog

from polyrhythm.process.forgiving_logger import ForgivingLogger
from polyrhythm.process.printable import printable_event


def log_to_stderr(level: str) -> None:
    """Sends what is logged at a level, or above it, to standard error.

    Args:
        level: debug, info, warning or error.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            printable_event,
            # Plain: rich would print the values of all variables, prompts among them.
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: ForgivingLogger(sys.stderr),
    )
