"""What the processes of a fleet say, kept in one file or in a file each."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from polyrhythm.errors import InvalidArgumentError

Keep = Callable[[bytes], None]
"""Takes what a process said next."""


class FleetLogs:
    """Open files, to be closed when all processes have ended.

    Args:
        path: a file for all, whose lines then begin with the name of the process; or a folder, existing or written with
            a slash at its end, for a file a process. What is there is kept, and added to.

    Raises:
        InvalidArgumentError: it cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._files: dict[Path, BinaryIO] = {}
        self._parts: dict[str, bytes] = {}
        try:
            self._path = Path(path).expanduser()
            self._in_folder = path.endswith("/") or self._path.is_dir()
            if self._in_folder:
                self._path.mkdir(parents=True, exist_ok=True)
            else:
                self._open(self._path)
        except OSError as error:
            raise InvalidArgumentError.of("log", f"{path} cannot be written: {error.strerror}") from error
        except RuntimeError as error:  # the home of a user who does not exist
            raise InvalidArgumentError.of("log", f"{path} cannot be written: {error}") from error

    def of(self, name: str) -> Keep:
        """Keeps what one process says, in whole lines; what cannot be written any more is lost, and ends nothing.

        Raises:
            InvalidArgumentError: its file cannot be written.
        """
        path = self._path / f"{name}.log" if self._in_folder else self._path
        try:
            file = self._open(path)
        except OSError as error:
            raise InvalidArgumentError.of("log", f"{path} cannot be written: {error.strerror}") from error
        prefix = b"" if self._in_folder else f"[{name}] ".encode()

        def keep(data: bytes) -> None:
            *lines, self._parts[name] = (self._parts.get(name, b"") + data).split(b"\n")
            if not data and self._parts[name]:  # the end of a line that nothing will follow
                lines.append(self._parts.pop(name))
            with suppress(OSError):  # a full disk: the process is read on, and its last words are known
                file.write(b"".join(prefix + line + b"\n" for line in lines))

        return keep

    def close(self) -> None:
        """Closes the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _open(self, path: Path) -> BinaryIO:
        if path not in self._files:
            self._files[path] = open(path, "ab", buffering=0, opener=_at_once)  # noqa: SIM115 - close does
        return self._files[path]


def _at_once(path: str, flags: int) -> int:
    """Opens a file without waiting for its other end: a pipe without a reader loses lines, and blocks no process."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)
