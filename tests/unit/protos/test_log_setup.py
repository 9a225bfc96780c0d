"""What the log does for its reader, and that it needs none."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import TextIO

import pytest
import structlog

from polyrhythm.process.log_setup import log_to_stderr


@pytest.fixture(autouse=True)
def _configured() -> Iterator[None]:
    before = structlog.get_config()
    log_to_stderr(agent="a")
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def unread() -> Iterator[TextIO]:
    """A stream whose reader has died."""
    reading_fd, writing_fd = os.pipe()
    os.close(reading_fd)
    stream = os.fdopen(writing_fd, "w", buffering=1)
    yield stream
    with contextlib.suppress(BrokenPipeError):  # what it could not write it tries again
        stream.close()


def test_a_line_names_its_agent() -> None:
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        structlog.get_logger().info("worker started", pid=7)
    line = stderr.getvalue()
    assert "worker started" in line
    assert "agent=a" in line
    assert "pid=7" in line
    assert line.count("\n") == 1


def test_what_is_below_the_level_is_not_shown() -> None:
    log_to_stderr(level="warning")
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        structlog.get_logger().info("hardly worth a word")
        structlog.get_logger().warning("worth one")
    assert "hardly" not in stderr.getvalue()
    assert "worth one" in stderr.getvalue()


def test_what_was_raised_is_told_without_the_values_of_variables() -> None:
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        secret = "a prompt"
        try:
            raise ValueError(len(secret))
        except ValueError:
            structlog.get_logger().exception("it broke")
    assert "ValueError: 8" in stderr.getvalue()
    assert "a prompt" not in stderr.getvalue().replace('secret = "a prompt"', "")


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_a_line_that_cannot_be_written_is_lost_and_nothing_else(unread: TextIO, level: str) -> None:
    with pytest.raises(BrokenPipeError):
        unread.write("a line\n")
    with contextlib.redirect_stderr(unread):
        getattr(structlog.get_logger(), level)("a line")


def test_the_log_goes_on_when_its_stream_is_mended(unread: TextIO) -> None:
    log = structlog.get_logger()
    with contextlib.redirect_stderr(unread):
        log.info("lost")
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        log.info("heard")
    assert "heard" in stderr.getvalue()
