"""Files that users name, read no further than they can mean anything: one that does not end is told, and not read.

Pipes are read like files, so that ``<(command)`` of a shell can be named.
"""

from __future__ import annotations

import errno
from pathlib import Path

from polyrhythm.errors import InvalidArgumentError

CHUNK_BYTES = 1 << 20
"""Read at a time: room for all that may come would be taken at once."""
TEXT_BYTES_MAX = 8 << 20
"""Far beyond any text that somebody writes by hand."""


def read_within(path: Path, bytes_max: int = TEXT_BYTES_MAX) -> bytes:
    """The content of a file.

    Args:
        path: of the file.
        bytes_max: that are read at most.

    Raises:
        OSError: it cannot be read, or is longer.
    """
    content = bytearray()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            content += chunk
            if len(content) > bytes_max:
                raise OSError(errno.EFBIG, f"it is longer than {bytes_max} bytes")
    return bytes(content)


def read_named(path: Path, option: str, bytes_max: int = TEXT_BYTES_MAX) -> bytes:
    """The content of a file that the user named.

    Args:
        path: of the file.
        option: that named it, as errors call it.
        bytes_max: that are read at most.

    Raises:
        InvalidArgumentError: names the option; the file cannot be read, or is longer.
    """
    try:
        return read_within(path, bytes_max)
    except OSError as error:
        raise InvalidArgumentError.of(option, f"{path} cannot be read: {error.strerror}") from error


def read_named_text(path: Path, option: str, bytes_max: int = TEXT_BYTES_MAX) -> str:
    """The text of a file that the user named, without a mark of byte order.

    Raises:
        InvalidArgumentError: names the option; the file cannot be read, is longer, or is not in UTF-8.
    """
    content = read_named(path, option, bytes_max)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError.of(option, f"{path} cannot be read: {error}") from error
