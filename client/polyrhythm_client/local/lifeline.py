"""A pipe that children watch: when this process ends, however it ends, its end closes and the children leave.

The kernel closes it even after SIGKILL, so no signal handler has to run for the children to know.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self


class Lifeline:
    """Both ends of the pipe, as long as children are to live."""

    def __init__(self) -> None:
        self._read_fd: int | None = None
        self._write_fd: int | None = None

    def __enter__(self) -> Self:
        # Neither end is inherited by itself (PEP 446): a child that held the writing end would keep itself alive.
        self._read_fd, self._write_fd = os.pipe()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        if self._read_fd is not None:
            os.close(self._read_fd)
            self._read_fd = None

    @property
    def child_fd(self) -> int:
        """The end that children inherit and watch."""
        assert self._read_fd is not None
        return self._read_fd

    def cut(self) -> None:
        """Tells all children to leave."""
        if self._write_fd is not None:
            os.close(self._write_fd)
            self._write_fd = None
