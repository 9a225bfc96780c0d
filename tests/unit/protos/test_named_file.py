"""Files that users name are read to their end, or told to have none."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.process.named_file import read_named, read_named_text, read_within


def test_a_file_as_long_as_it_may_be_is_read_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some"
    path.write_bytes(b"12345")
    assert read_named(path, "devices", 5) == b"12345"
    with pytest.raises(InvalidArgumentError) as caught:
        read_named(path, "devices", 4)
    assert str(caught.value) == f"devices: {path} cannot be read: it is longer than 4 bytes"


def test_a_file_without_end_is_not_read() -> None:
    with pytest.raises(OSError, match="it is longer than 1024 bytes"):
        read_within(Path("/dev/zero"), 1024)


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    """So that ``--prompts <(command)`` works."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = Thread(target=path.write_bytes, args=(b"a cat\r\nan owl\r\n",), daemon=True)
    writer.start()
    assert read_named_text(path, "--prompts").splitlines() == ["a cat", "an owl"]
    writer.join()


def test_what_cannot_be_read_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^--prompts: .*absent cannot be read: No such file or directory$"):
        read_named_text(tmp_path / "absent", "--prompts")
    with pytest.raises(InvalidArgumentError, match=rf"^fit: {tmp_path} cannot be read: Is a directory$"):
        read_named_text(tmp_path, "fit")
    (tmp_path / "latin").write_bytes("Äpfel".encode("latin-1"))
    with pytest.raises(InvalidArgumentError, match=r"^fit: .*latin cannot be read: 'utf-8' codec"):
        read_named_text(tmp_path / "latin", "fit")
