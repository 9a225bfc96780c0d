"""The folder that a calibration is written into: what it does not take is told by the option. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from polyrhythm.errors import InvalidArgumentError


@contextmanager
def written_into(folder: Path) -> Iterator[None]:
    """Tells by the option that a file cannot be written.

    Args:
        folder: of the model.

    Raises:
        InvalidArgumentError: what is done inside failed for the folder or its file system.
    """
    try:
        yield
    except OSError as error:
        told = f"a calibration cannot be written into {folder}: {error.strerror or error}"
        raise InvalidArgumentError.of("--model", told) from error


def try_folder(folder: Path) -> None:
    """Checks that files can be made in a folder, and leaves none; what the permissions say is not enough.

    Raises:
        InvalidArgumentError: none can.
    """
    with written_into(folder), TemporaryFile(dir=folder):
        pass
