"""Worker processes end with their daemon, whatever becomes of their last words and however early it dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

FAKE_WORKER = Path(__file__).parents[1] / "fakes" / "worker_process.py"
WAIT_S = 20.0


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start_worker(undo: ExitStack, *, daemon_pid: int, log_fd: int | None) -> tuple[socket.socket, subprocess.Popen]:
    """A worker that this process is the parent of, and the daemon's end of its channel."""
    ours, theirs = socket.socketpair()
    undo.callback(ours.close)
    ours.settimeout(WAIT_S)
    with theirs:
        options = ("--channel-fd", str(theirs.fileno()), "--daemon-pid", str(daemon_pid))
        process = subprocess.Popen(
            (sys.executable, str(FAKE_WORKER), *options), pass_fds=[theirs.fileno()], stdout=log_fd, stderr=log_fd
        )
    undo.callback(process.wait)
    undo.callback(process.kill)
    return ours, process


def unread_pipe(undo: ExitStack) -> int:
    """Its reader has died."""
    reading_fd, writing_fd = os.pipe()
    os.close(reading_fd)
    undo.callback(os.close, writing_fd)
    return writing_fd


def full_pipe(undo: ExitStack) -> int:
    """Its reader lives and does not read: whoever writes, waits."""
    reading_fd, writing_fd = os.pipe()
    undo.callback(os.close, reading_fd)
    undo.callback(os.close, writing_fd)
    os.set_blocking(writing_fd, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing_fd, b"x")
    os.set_blocking(writing_fd, True)
    return writing_fd


@pytest.mark.parametrize("log", [unread_pipe, full_pipe])
def test_it_ends_with_its_channel_when_nobody_takes_its_log(log: Callable[[ExitStack], int], undo: ExitStack) -> None:
    channel, process = start_worker(undo, daemon_pid=os.getpid(), log_fd=log(undo))
    assert channel.recv(1)  # it is ready
    channel.close()
    assert process.wait(WAIT_S) == 0


def test_it_is_killed_when_its_daemon_died_before_it_could_ask_for_that(undo: ExitStack) -> None:
    died = subprocess.Popen(["true"])
    died.wait(WAIT_S)
    _, process = start_worker(undo, daemon_pid=died.pid, log_fd=None)
    assert process.wait(WAIT_S) == -signal.SIGKILL
