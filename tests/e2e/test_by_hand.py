"""A fleet started by hand, in three shells: the bytes of a picture that an embedded one made, and its refusals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.shell import MODEL, OwnFleetPicture

PROMPT = "red apple on a blue background"
BIN = Path(sys.executable).parent
READY_TIMEOUT_S = 60.0


def polyrhythm(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "polyrhythm"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=150, check=False)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a coordinator and two agents, each started by hand, can be asked."""
    folder = tmp_path_factory.mktemp("logs")
    with (folder / "coordinator.log").open("w") as log:
        command = [str(BIN / "polyrhythm-coordinator"), "--port", "0"]
        coordinator = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert coordinator.stdout is not None
    listening = coordinator.stdout.readline().split()[-1]
    processes: list[subprocess.Popen[Any]] = [coordinator]
    for name, speed in (("local-1", "0.5"), ("local-0", "1")):
        command = [str(BIN / "polyrhythm-agent"), "--coordinator", listening, "--name", name, "--model", MODEL]
        with (folder / f"{name}.log").open("w") as log:
            processes.append(subprocess.Popen([*command, "--threads", "1", "--emulate-speed", speed], stderr=log))
    wait_until_ready(listening, folder)
    yield listening
    for process in reversed(processes):
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=15) == 0


def wait_until_ready(address: str, folder: Path) -> None:
    """Asks again and again: listing has no watch, and each question takes a moment by itself."""
    end_s = time.monotonic() + READY_TIMEOUT_S
    while True:
        listed = polyrhythm("agents", "--address", address, "--json", cwd=folder)
        states = [agent["state"] for agent in json.loads(listed.stdout)["agents"]] if listed.returncode == 0 else []
        if states == ["ready", "ready"]:
            return
        assert time.monotonic() < end_s, listed.stdout + listed.stderr


def test_the_picture_of_an_embedded_fleet_is_made_again(address: str, picture: OwnFleetPicture, tmp_path: Path) -> None:
    again = polyrhythm("generate", "--plan", str(picture.path), "-o", "again.png", "--address", address, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.png").read_bytes() == picture.path.read_bytes()


@pytest.mark.parametrize(
    ("prompt", "arguments", "field"),
    [
        (PROMPT, ("--size", "130x128"), "size"),
        (PROMPT, ("--guidance", "99"), "guidance"),
        (PROMPT, ("--model", "unheard-of"), "unheard-of"),
        (" ".join(["apple"] * 400), (), "prompt"),
    ],
)
def test_what_only_the_fleet_can_refuse(
    address: str, prompt: str, arguments: tuple[str, ...], field: str, tmp_path: Path
) -> None:
    refused = polyrhythm("generate", prompt, *arguments, "--address", address, cwd=tmp_path)
    assert refused.returncode in {1, 2}
    assert field in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []
