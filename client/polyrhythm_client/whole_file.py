"""Files that are written in one move: a reader sees the old file or the whole new one, and never half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file in one move.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    descriptor, scratch = scratch_in(path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(scratch).chmod(0o666 & ~_umask())
        Path(scratch).replace(path)
    except OSError:
        Path(scratch).unlink(missing_ok=True)
        raise


def scratch_in(folder: Path) -> tuple[int, str]:
    """A new open file beside the one that is meant; its name is short, however long that of the other one is.

    Returns:
        Its descriptor and its path.

    Raises:
        OSError: the folder takes no file.
    """
    return tempfile.mkstemp(prefix=".polyrhythm-", suffix=".tmp", dir=folder)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
