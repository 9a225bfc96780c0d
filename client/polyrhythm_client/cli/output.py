"""Where pictures are written: names, checks beforehand, files that are whole or not there; or standard output."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.process.standard_streams import lost_output, output_is_absent
from polyrhythm_client.whole_file import scratch_in, write_whole

SUFFIX = ".png"
STANDARD_OUTPUT = Path("-")
"""As an option: the bytes of one picture go to standard output, and everything that is said to standard error."""
_SLUG_BYTES_MAX = 60
_NAME_TOO_LONG = "its name is too long for the file system"


def check_output(path: Path | None, *, count: int = 1) -> None:
    """Checks that pictures can be written, before any work is done for them.

    What the permissions say is not enough: a file is made and removed again.

    Args:
        path: as the user wrote it; None for a name made from the prompt, in the current folder.
        count: pictures of the job; their files are numbered where there are several.

    Raises:
        InvalidArgumentError: the folder is not there or not writable, the name is not one of a PNG file, or something
            else than a file has it.
    """
    folder = Path() if path is None else path.parent
    if path is not None and path.suffix.lower() != SUFFIX:
        raise InvalidArgumentError.of("output", f"pictures are PNG files: the name must end in {SUFFIX}, got {path}")
    try:
        for target in () if path is None else _targets(path, count):
            if target.is_dir():
                raise InvalidArgumentError.of("output", f"{target} is a folder")
            if target.exists() and not target.is_file():  # a pipe, whose reader would wait for ever
                raise InvalidArgumentError.of("output", f"{target} is no ordinary file")
        if not folder.is_dir():
            raise InvalidArgumentError.of("output", f"the folder {folder} does not exist")
    except OSError as error:  # a name that no folder can hold
        raise InvalidArgumentError.of("output", f"cannot write {path}: {error.strerror}") from error
    try:
        descriptor, scratch = scratch_in(folder)
    except OSError as error:
        raise InvalidArgumentError.of("output", f"the folder {folder} is not writable: {error.strerror}") from error
    os.close(descriptor)
    Path(scratch).unlink()
    if path is not None:
        last = _targets(path, count)[-1]
        if len(os.fsencode(last.name)) > os.pathconf(folder, "PC_NAME_MAX"):
            raise InvalidArgumentError.of("output", f"cannot write {last}: {_NAME_TOO_LONG}")


def check_standard_output(*, count: int, previews: bool, as_json: bool) -> None:
    """Checks that a picture may go to standard output.

    Args:
        count: pictures of the job.
        previews: whether they are asked for.
        as_json: whether the account of the picture is to go there.

    Raises:
        InvalidArgumentError: there is none, something else would go there too, or a person would see the bytes.
    """
    if count > 1:
        raise InvalidArgumentError.of("output", f"standard output takes one picture, not --count {count}")
    if previews:
        raise InvalidArgumentError.of("output", "--preview-every writes beside a file, and standard output is none")
    if as_json:
        raise InvalidArgumentError.of("output", "--json writes to standard output itself: name a file for the picture")
    if output_is_absent():
        raise InvalidArgumentError.of("output", "there is no standard output: it is closed")
    if sys.stdout.isatty():
        raise InvalidArgumentError.of("output", "standard output is a terminal, which shows no PNG: send it to a file")


def write_standard_output(content: bytes) -> None:
    """Writes a picture to standard output.

    Raises:
        InvalidArgumentError: the reader has gone, or it cannot be written.
    """
    sys.stdout.buffer.write(content)
    lost = lost_output()
    if lost is not None:
        raise InvalidArgumentError.of("output", f"cannot write to standard output: {lost.strerror}")


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
        slug = re.sub(r"\W+", "-", prompt.lower()).strip("-_").encode()[:_SLUG_BYTES_MAX].decode(errors="ignore")
        return Path(f"{slug or 'picture'}-{seed}{SUFFIX}")
    return path if count == 1 else path.with_name(f"{path.stem}-{index}{path.suffix}")


def _targets(path: Path, count: int) -> tuple[Path, ...]:
    """The files of all pictures of a job."""
    return tuple(output_path(path, prompt="", seed=0, index=index, count=count) for index in range(count))


def preview_path(path: Path | None) -> Path:
    """The file that holds the newest preview of a job."""
    return Path(f"polyrhythm.preview{SUFFIX}") if path is None else path.with_name(f"{path.stem}.preview{path.suffix}")


class Preview:
    """The newest preview of a job: in its file for as long as the context lasts, however that ends.

    Args:
        path: of the picture, as the user wrote it.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = preview_path(path)
        self._written = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._written:
            with suppress(OSError):
                self._path.unlink()

    def write(self, png: bytes) -> None:
        """Takes the place of the one before.

        Raises:
            InvalidArgumentError: it cannot be written.
        """
        write_picture(self._path, png)
        self._written = True


def write_picture(path: Path, content: bytes) -> None:
    """Writes a file in one move: a reader sees the old one or the whole new one.

    Raises:
        InvalidArgumentError: it cannot be written.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise InvalidArgumentError.of("output", f"cannot write {path}: {error.strerror}") from error
