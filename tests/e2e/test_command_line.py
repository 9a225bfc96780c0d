"""The installed command with the real coordinator, agents and demo model, as a person without a GPU types it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from polyrhythm.image import STEPS_MAX

COMMAND = (sys.executable, "-m", "polyrhythm_client.cli")
LIMIT_S = 200.0
GONE_S = 30.0


class Shell:
    """Runs the command in an empty folder, and knows every process that descends from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mark = uuid.uuid4().hex
        # A mark in the environment is inherited by children of children, whatever session they lead.
        self.environment = os.environ | {"POLYRHYTHM_TEST_MARK": self._mark}
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
            return process.environ().get("POLYRHYTHM_TEST_MARK") == self._mark
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            return False


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.assert_nothing_lives()


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFleetPicture:
    """What a run on a fleet of its own left behind."""

    path: Path
    run: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> OwnFleetPicture:
    """A red apple; nothing of its fleet lives any more."""
    shell = Shell(tmp_path_factory.mktemp("own"))
    # High quality: the default may find one device with merged steps as good and faster, and that one runs freely.
    asked = ("--speeds", "1,0.5", "--quality", "high", "-o", "a.png", "--json")
    run = shell("generate", "red apple on a blue background", *asked)
    assert run.returncode == 0, run.stderr
    shell.assert_nothing_lives()
    return OwnFleetPicture(path=shell.folder / "a.png", run=run)


def test_a_picture_from_a_fleet_of_its_own(shell: Shell, picture: OwnFleetPicture) -> None:
    made = picture.run
    assert "EMULATED speeds 1 : 0.5" in made.stderr
    found = json.loads(made.stdout)
    assert (found["image"], found["emulated"]) == ("a.png", True)
    assert found["segments"][0]["begin_step"] == 0
    assert found["segments"][-1]["end_step"] == found["steps"]
    # The run's account describes the fleet, which the simulator then follows without any device.
    (shell.folder / "run.json").write_text(made.stdout, encoding="utf-8")
    fitted = shell("simulate", "--fit", "run.json", "-o", "fleet.toml")
    assert fitted.returncode == 0, fitted.stderr
    assert "no measured link" in fitted.stderr
    simulated = json.loads(shell("simulate", "--devices", "fleet.toml", "--json").stdout)
    assert [device["agent"] for device in simulated["devices"]] == ["local-0", "local-1"]
    assert simulated["error"] is None


def test_a_fleet_in_the_foreground(shell: Shell, picture: OwnFleetPicture) -> None:
    with shell.start("up", "--speeds", "1,0.5", "--port", "0") as fleet:
        assert fleet.stdout is not None
        lines = [fleet.stdout.readline() for _ in range(3)]
        assert lines[0].startswith("coordinator ready on 127.0.0.1:")
        assert sorted(line.split()[1] for line in lines[1:]) == ["local-0", "local-1"]
        address = lines[0].split()[-1]
        explained = shell("plan", "green tree", "--json", "--address", address)
        assert explained.returncode == 0, explained.stderr
        (shell.folder / "plan.json").write_text(explained.stdout)
        made = shell("generate", "green tree", "--plan", "plan.json", "--address", address, "-o", "tree.png", "--json")
        assert made.returncode == 0, made.stderr
        segments = json.loads(explained.stdout)["chosen"]["plan"]["segments"]
        assert json.loads(made.stdout)["segments"] == segments
        again = shell("generate", "--plan", str(picture.path), "--address", address, "-o", "again.png")
        assert again.returncode == 0, again.stderr
        assert (shell.folder / "again.png").read_bytes() == picture.path.read_bytes()
        too_long = shell("generate", "word " * 500, "--address", address)
        assert (too_long.returncode, too_long.stderr.split(":")[:2]) == (2, ["error", " prompt"])
        fleet.send_signal(signal.SIGINT)
        assert fleet.wait(GONE_S) == 0
    shell.assert_nothing_lives()


def test_ctrl_c_in_mid_picture_leaves_nothing(shell: Shell) -> None:
    with shell.start(
        "generate", "x", "--speeds", "1,0.5", "--steps", str(STEPS_MAX), "--preview-every", "1"
    ) as command:
        # The first preview says that the picture is under way. Nothing announces a file: look ten times a second.
        preview = shell.folder / "preview.png"
        while not preview.exists() and command.poll() is None:
            select.select([], [], [], 0.1)
        assert command.poll() is None
        command.send_signal(signal.SIGINT)
        assert command.wait(GONE_S) == 130


def test_a_folder_that_holds_no_weights(shell: Shell) -> None:
    (shell.folder / "model").mkdir()
    (shell.folder / "model" / "model_index.json").write_text('{"_class_name": "PixArtAlphaPipeline"}')
    refused = shell("generate", "x", "--speeds", "1", "--model", "model")
    assert refused.returncode == 2
    assert "--model" in refused.stderr
    assert "safetensors" in refused.stderr


def test_a_port_that_is_taken(shell: Shell) -> None:
    with shell.start("up", "--speeds", "1", "--port", "0") as fleet:
        assert fleet.stdout is not None
        port = fleet.stdout.readline().strip().rpartition(":")[2]
        refused = shell("up", "--speeds", "1", "--port", port)
        assert refused.returncode == 1
        assert f"--port: 127.0.0.1:{port} is taken" in refused.stderr
        fleet.send_signal(signal.SIGTERM)
        assert fleet.wait(GONE_S) == 0
