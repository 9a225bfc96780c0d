"""Runs of pytest in forks of one process that has imported the slow libraries once; see ``fork_server``."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SERVER = Path(__file__).with_name("fork_server.py")
SERVER_END_S = 10.0


class ForkDiedError(RuntimeError):
    """A fork, or the process that should have made it, ended without an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked:
    """What became of one run.

    Attributes:
        exit_code: of pytest.
        files: of the project's modules that the run imported, and of its packages whether imported or not.
    """

    exit_code: int
    files: tuple[Path, ...]


class Forks:
    """One process to fork, for as long as the context is open; used from several threads at a time.

    Args:
        folder: where the process works; no copy of the project.
        environment: of the process and, with more of their own, of its forks.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-P", str(SERVER), str(theirs.fileno())],
                    cwd=self._folder,
                    env=self._environment,
                    pass_fds=(theirs.fileno(),),
                )
            stack.callback(process.wait, SERVER_END_S)
            self._requests = stack.enter_context(ours)  # closed first, which ends the process
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def pytest(
        self, folder: Path, arguments: Sequence[str], *, environment: Mapping[str, str], output: Path, timeout_s: float
    ) -> Forked:
        """Runs pytest in a fork of its own.

        Args:
            folder: where it works.
            arguments: of pytest.
            environment: beyond the one of all forks; its ``PYTHONPATH`` comes first in the search for modules.
            output: file for what it prints.
            timeout_s: after so long it is killed, with all that it started.

        Raises:
            TimeoutError: it took too long.
            ForkDiedError: it ended without an answer.
        """
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                request = {
                    "folder": str(folder),
                    "arguments": list(arguments),
                    "environment": dict(environment),
                    "output": str(output),
                    "packages": ["polyrhythm", "polyrhythm_agent", "polyrhythm_client", "polyrhythm_coordinator"],
                }
                socket.send_fds(self._requests, [json.dumps(request).encode()], [theirs.fileno()])
            return _answer(ours, timeout_s)


def _answer(answers: socket.socket, timeout_s: float) -> Forked:
    with answers.makefile("r", encoding="utf-8") as lines:
        answers.settimeout(timeout_s)
        started = lines.readline()
        if not started:
            raise ForkDiedError("no fork was made")
        try:
            ended = lines.readline()
        except TimeoutError:
            os.killpg(int(started), signal.SIGKILL)
            raise TimeoutError(f"a fork was killed after {timeout_s} s") from None
    if not ended:
        raise ForkDiedError(f"fork {int(started)} ended without an answer")
    told = json.loads(ended)
    return Forked(exit_code=told["exit_code"], files=tuple(Path(file) for file in told["files"]))
