"""How an agent's processes log: one line an event, to standard error."""

from __future__ import annotations

import sys

import structlog

from polyrhythm.process.forgiving_logger import ForgivingLogger
from polyrhythm.process.printable import printable_event


def configure_log(agent: str) -> None:
    """Sets the process's logger up; every line names the agent.

    Args:
        agent: its name.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
            printable_event,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, pad_level=False),
        ],
        # Looked up for each line: whoever redirects standard error later is obeyed.
        logger_factory=lambda *_: ForgivingLogger(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(agent=agent)
