"""How a process logs: one line an event, to standard error. Knows not what is logged."""

from __future__ import annotations

import logging
import sys

import structlog

from polyrhythm.process.forgiving_logger import ForgivingLogger
from polyrhythm.process.printable import printable_event


def log_to_stderr(*, level: str = "debug", **named: str) -> None:
    """Sends what is logged at a level, or above it, to standard error.

    Args:
        level: debug, info, warning or error.
        named: what every line says beside its event, such as the agent's name.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            printable_event,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                pad_event_to=0,
                pad_level=False,
                # Plain: rich would print the values of all variables, prompts among them.
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # Looked up for each line: whoever redirects standard error later is obeyed.
        logger_factory=lambda *_: ForgivingLogger(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(**named)
