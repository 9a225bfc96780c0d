"""The lifeline calls back when its other end goes, and only then."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.process.lifeline import watch_lifeline


async def test_it_ends_with_its_other_end_and_ignores_what_is_written() -> None:
    theirs, ours = os.pipe()
    ended = asyncio.Event()
    watch_lifeline(theirs, ended.set)
    os.write(ours, b"noise")
    await asyncio.sleep(0)
    assert not ended.is_set()
    os.close(ours)
    await asyncio.wait_for(ended.wait(), 10.0)


async def test_a_descriptor_that_is_not_open_is_bad_input() -> None:
    theirs, ours = os.pipe()
    os.close(ours)
    os.close(theirs)
    with pytest.raises(InvalidArgumentError, match=f"--lifeline-fd: {theirs} is not an open pipe"):
        watch_lifeline(theirs, lambda: None)


async def test_a_file_is_bad_input(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(InvalidArgumentError, match="is not an open pipe"):
        watch_lifeline(file.fileno(), lambda: None)
