"""A log that cannot be written is lost; the coordinator is not."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import pytest

from polyrhythm.process.forgiving_logger import ForgivingLogger

FULL_DISK = Path("/dev/full")


def full_disk() -> TextIO:
    return FULL_DISK.open("w")


def pipe_without_reader() -> TextIO:
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
@pytest.mark.parametrize("broken", [full_disk, pipe_without_reader])
def test_a_line_that_cannot_be_written_is_dropped(broken: Callable[[], TextIO], level: str) -> None:
    file = broken()
    try:
        getattr(ForgivingLogger(file), level)("agent connected")
    finally:
        with suppress(OSError):  # closing tries once more to write
            file.close()


def test_a_line_that_can_be_written_is(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as file:
        ForgivingLogger(file).info("agent connected")
        assert path.read_text() == "agent connected\n"


async def test_a_coordinator_lives_and_ends_well_while_its_log_cannot_be_written() -> None:
    full = full_disk()
    command = (sys.executable, "-m", "polyrhythm_coordinator.server", "--port", "0")
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=full)
    full.close()
    try:
        assert process.stdout is not None
        assert (await process.stdout.readline()).startswith(b"polyrhythm-coordinator ready on ")
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
