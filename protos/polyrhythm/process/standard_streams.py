"""Standard output and standard error of a process, whatever became of them: closed, full, or read by nobody any more.

What cannot be said is lost, and never ends what it would have told of. Whether results were lost can be asked.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Any, TextIO

STANDARD_FDS = (0, 1, 2)


class ForgivingFile(io.RawIOBase):
    """Writes to a file descriptor as long as that takes what is written, and drops the rest.

    Args:
        fd: that stays open.
        absent: whether whoever started this process gave it none.

    Attributes:
        failure: why the rest was dropped; None if nothing was.
    """

    def __init__(self, fd: int, *, absent: bool) -> None:
        super().__init__()
        self._fd = fd
        self.absent = absent
        self.failure: OSError | None = None

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The file descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return os.isatty(self._fd)

    def write(self, data: Any, /) -> int:
        """Writes what is taken at once; all of it is gone where nothing is taken any more."""
        while self.failure is None:
            try:
                return os.write(self._fd, data)
            except BlockingIOError:  # somebody who shares the terminal or pipe has set it so
                select.select([], [self._fd], [])
            except OSError as error:
                self.failure = error
        return len(data)


def forgive_standard_streams() -> None:
    """Makes both streams forgiving. Called first in a process: a closed one's number must not go to another file."""
    absent = [fd for fd in STANDARD_FDS if not _is_open(fd)]
    for fd in absent:
        nowhere = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, most likely this one
        if nowhere != fd:
            os.dup2(nowhere, fd)
            os.close(nowhere)
        os.set_inheritable(fd, True)  # noqa: FBT003 - it takes no keyword
    sys.stdout = _forgiving(sys.stdout, 1, absent=1 in absent)
    sys.stderr = _forgiving(sys.stderr, 2, absent=2 in absent)


def output_is_absent() -> bool:
    """Whether this process was started without standard output."""
    raw = _raw_output()
    return raw is not None and raw.absent


def lost_output() -> OSError | None:
    """Why a part of what was written to standard output is lost; None if it is not, or if the process has none."""
    sys.stdout.flush()
    raw = _raw_output()
    return None if raw is None else raw.failure


def reader_has_left(failure: OSError) -> bool:
    """Whether nobody wanted to read further, as with ``| head``, which is no fault."""
    return failure.errno == errno.EPIPE


def _raw_output() -> ForgivingFile | None:
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, ForgivingFile) else None


def _forgiving(stream: TextIO | None, fd: int, *, absent: bool) -> TextIO:
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(ForgivingFile(fd, absent=absent)),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors="backslashreplace",  # file names may be no text
        line_buffering=fd == 2 or os.isatty(fd),
    )


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
