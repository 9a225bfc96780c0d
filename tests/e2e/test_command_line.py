"""The installed command with the real coordinator, agents and demo model, as a person without a GPU types it."""

from __future__ import annotations

import json
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyrhythm.job.image import STEPS_MAX
from tests.e2e.shell import GONE_S, OwnFleetPicture, Shell


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.assert_nothing_lives()


def test_a_picture_from_a_fleet_of_its_own(shell: Shell, picture: OwnFleetPicture) -> None:
    made = picture.run
    assert "EMULATED speeds 0.5 : 1" in made.stderr
    (found,) = json.loads(made.stdout)["images"]
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
    assert "error" not in simulated


def test_a_fleet_in_the_foreground(shell: Shell) -> None:
    with shell.start("up", "--speeds", "1,0.5", "--port", "0") as fleet:
        assert fleet.stdout is not None
        lines = [fleet.stdout.readline() for _ in range(5)]
        assert lines[0].startswith("coordinator ready on 127.0.0.1:")
        told = sorted(" ".join(line.split()[2:4]) for line in lines[1:])
        assert told == ["local-0 loading", "local-0 ready:", "local-1 loading", "local-1 ready:"]
        address = lines[0].split()[-1]
        explained = shell("plan", "green tree", "--json", "--address", address)
        assert explained.returncode == 0, explained.stderr
        (shell.folder / "plan.json").write_text(explained.stdout)
        made = shell("generate", "green tree", "--plan", "plan.json", "--address", address, "-o", "tree.png", "--json")
        assert made.returncode == 0, made.stderr
        segments = json.loads(explained.stdout)["chosen"]["plan"]["segments"]
        assert json.loads(made.stdout)["images"][0]["segments"] == segments
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
        preview = shell.folder / "polyrhythm.preview.png"
        while not preview.exists() and command.poll() is None:
            select.select([], [], [], 0.1)
        assert command.poll() is None
        command.send_signal(signal.SIGINT)
        assert command.wait(GONE_S) == 130
        assert not preview.exists()


def test_a_folder_that_holds_no_weights(shell: Shell) -> None:
    (shell.folder / "model").mkdir()
    (shell.folder / "model" / "model_index.json").write_text('{"_class_name": "PixArtAlphaPipeline"}')
    refused = shell("generate", "x", "--speeds", "1", "--model", "model")
    assert refused.returncode == 2
    assert "--model" in refused.stderr
    assert "safetensors" in refused.stderr


def test_a_port_that_is_taken(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = shell("up", "--speeds", "1", "--port", str(port))
    assert refused.returncode == 1
    assert f"--port: 127.0.0.1:{port} is taken" in refused.stderr
