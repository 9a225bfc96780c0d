"""Where pictures are written: names, checks beforehand, files that are whole or not there."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from polyrhythm.errors import InvalidArgumentError

SUFFIX = ".png"
_SLUG_CHARACTERS_MAX = 60


def check_output(path: Path | None) -> None:
    """Checks that a picture can be written, before any work is done for it.

    Args:
        path: as the user wrote it; None for a name made from the prompt, in the current folder.

    Raises:
        InvalidArgumentError: the folder is not there or not writable, or the name is not one of a PNG file.
    """
    folder = Path() if path is None else path.parent
    if path is not None and path.suffix.lower() != SUFFIX:
        raise InvalidArgumentError.of("output", f"pictures are PNG files: the name must end in {SUFFIX}, got {path}")
    if path is not None and path.is_dir():
        raise InvalidArgumentError.of("output", f"{path} is a folder")
    if not folder.is_dir():
        raise InvalidArgumentError.of("output", f"the folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidArgumentError.of("output", f"the folder {folder} is not writable")


def output_path(path: Path | None, *, prompt: str, seed: int, index: int, count: int) -> Path:
    """The file of one picture.

    Args:
        path: as the user wrote it; None for a name made from prompt and seed.
        prompt: of the picture.
        seed: of the picture.
        index: of the picture in its job.
        count: pictures of the job; their files are numbered where there are several.
    """
    if path is None:
        slug = re.sub(r"\W+", "-", prompt.lower()).strip("-_")[:_SLUG_CHARACTERS_MAX] or "picture"
        return Path(f"{slug}-{seed}{SUFFIX}")
    return path if count == 1 else path.with_name(f"{path.stem}-{index}{path.suffix}")


def preview_path(path: Path | None) -> Path:
    """The file that holds the newest preview of a job."""
    return Path(f"preview{SUFFIX}") if path is None else path.with_name(f"{path.stem}.preview{path.suffix}")


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file in one move: whoever looks sees the old one or the whole new one.

    Raises:
        InvalidArgumentError: it cannot be written.
    """
    try:
        descriptor, scratch = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise InvalidArgumentError.of("output", f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(scratch).chmod(0o666 & ~_umask())
        Path(scratch).replace(path)
    except OSError as error:
        Path(scratch).unlink(missing_ok=True)
        raise InvalidArgumentError.of("output", f"cannot write {path}: {error.strerror}") from error


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
