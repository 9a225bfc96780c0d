"""Clients and forks: threads, event loops and gRPC's connections do not outlive one.

A client that a child process inherits, or opens although its parent had used gRPC before the fork, would wait for ever
for threads that are not there. It is refused instead, at once.
"""

from __future__ import annotations

import os

from polyrhythm.errors import ErrorCode, PolyrhythmError


class ForkedError(PolyrhythmError, RuntimeError):
    """This process was forked from one that had opened a client.

    Args:
        opener: process id of that one.
    """

    code = ErrorCode.UNREACHABLE

    def __init__(self, opener: int) -> None:
        super().__init__(
            f"process {opener} opened a client and was then forked to this one, and no connection outlives a fork: "
            'start processes by multiprocessing\'s "spawn", or open the first client after the fork'
        )


class Opener:
    """Remembers which process opened something."""

    def __init__(self) -> None:
        self._pid: int | None = None

    def is_elsewhere(self) -> bool:
        """Whether that was another process than this one."""
        return self._pid not in {None, os.getpid()}

    def check(self) -> None:
        """Takes this process for the opener if there is none yet.

        Raises:
            ForkedError: there is one, and it is another process.
        """
        if self._pid is None:
            self._pid = os.getpid()
        elif self.is_elsewhere():
            raise ForkedError(self._pid)


FIRST_CHANNEL = Opener()
"""Of gRPC in this process, which has one set of threads for all channels."""
