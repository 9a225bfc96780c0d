"""What a worker writes to its standard streams: passed on to the daemon's standard error, its end kept.

A worker that ends before it can speak over its channel (no library, no folder, no memory) says why here only.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import sys

from polyrhythm.process.last_words import LastWords

_READ_BYTES = 64 * 1024


class WorkerWords:
    """A pipe from one worker. All methods on the event loop.

    Attributes:
        write_fd: the end that the worker gets; ours until ``listen_only``.
    """

    def __init__(self) -> None:
        self._words = LastWords()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._read_fd: int | None
        self._read_fd, self.write_fd = os.pipe()
        self._writes = True
        os.set_blocking(self._read_fd, False)
        asyncio.get_running_loop().add_reader(self._read_fd, self._read)

    def listen_only(self) -> None:
        """The worker has its end: ours would only hide that it has gone."""
        if self._writes:
            self._writes = False
            os.close(self.write_fd)

    def last(self) -> str:
        """The end of what was said by now."""
        return self._words.text

    def close(self) -> None:
        """Takes what is left in the pipe, and lets go of it; a grandchild may hold the other end for longer."""
        self.listen_only()
        while self._read_fd is not None and self._read():
            pass
        self._hang_up()

    def _read(self) -> bool:
        """Takes what is there; False where nothing is."""
        assert self._read_fd is not None
        try:
            data = os.read(self._read_fd, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._hang_up()
            return False
        self._words.add(data)
        # Whoever read our standard error may have gone: that is no reason to stop reading the worker's.
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(self._decoder.decode(data))
            sys.stderr.flush()
        return True

    def _hang_up(self) -> None:
        if self._read_fd is not None:
            asyncio.get_running_loop().remove_reader(self._read_fd)
            os.close(self._read_fd)
            self._read_fd = None
