"""Signs that a worker which is not ready yet gets on with its model: to its daemon, which waits, and to its log.

A sign is given by whoever has got further, never by a timer: what hangs gives none.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from polyrhythm.session.events import Heartbeat

log = structlog.get_logger()

SENT_INTERVAL_S = 0.2
TOLD_INTERVAL_S = 5.0


class LoadingSigns:
    """Passes signs on, often enough for the daemon and seldom enough for a person.

    Args:
        send: to the daemon.
        clock: seconds on a clock that never runs backwards.
    """

    def __init__(self, send: Callable[[Heartbeat], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock
        self._sent_s = self._told_s = float("-inf")
        self._count = 0

    def __call__(self, told: str) -> None:
        """Loading has got further.

        Args:
            told: with what, for a person.
        """
        now_s = self._clock()
        if now_s - self._sent_s >= SENT_INTERVAL_S:
            self._count += 1
            self._sent_s = now_s
            self._send(Heartbeat(sequence=self._count))
        if now_s - self._told_s >= TOLD_INTERVAL_S:
            self._told_s = now_s
            log.info("model is being prepared", doing=told)
