"""How an agent's processes log: one line an event, to standard error."""

from __future__ import annotations

import contextlib
import sys

import structlog


class ForgivingLogger(structlog.PrintLogger):
    """Prints lines as long as something takes them; on a full disk, or when the reader has died, they are lost.

    A log must not end what it tells of.
    """

    def msg(self, message: str) -> None:
        """Prints one line, if that is possible."""
        with contextlib.suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


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
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0, pad_level=False),
        ],
        # Looked up for each line: whoever redirects standard error later is obeyed.
        logger_factory=lambda *_: ForgivingLogger(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(agent=agent)
