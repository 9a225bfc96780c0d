"""The installed command as a person types it, and what it leaves running."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

COMMAND = (sys.executable, "-m", "polyrhythm_client.cli.main")
LIMIT_S = 200.0
GONE_S = 30.0


class Shell:
    """Runs the command in an empty folder, and knows every process that descends from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mark = uuid.uuid4().hex
        # A mark in the environment is inherited by children of children, whatever session they lead.
        self.environment = os.environ | {"TEST_MARK": self._mark}
        self.environment.pop("POLYRHYTHM_ADDRESS", None)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *arguments], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True
        )

    def living(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def assert_nothing_lives(self) -> None:
        with ExitStack() as stack:
            for process in self.living():
                try:
                    handle = os.pidfd_open(process.pid)
                except ProcessLookupError:
                    continue
                stack.callback(os.close, handle)
                assert select.select([handle], [], [], GONE_S)[0], f"left behind: {process}"

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("TEST_MARK") == self._mark
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFleetPicture:
    """What a run on a fleet of its own left behind."""

    path: Path
    run: subprocess.CompletedProcess[str]
