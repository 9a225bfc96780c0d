"""A fleet started by hand, as in three shells: the bytes of a picture that an embedded one made, and its refusals."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.pictures import PROMPT
from tests.e2e.processes import BIN, HurtableFleet
from tests.e2e.shell import OwnFleetPicture


def polyrhythm(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "polyrhythm"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=150, check=False)


def test_the_picture_of_an_embedded_fleet_is_made_again(
    fleet: HurtableFleet, picture: OwnFleetPicture, tmp_path: Path
) -> None:
    asked = ("generate", "--plan", str(picture.path), "-o", "again.png", "--address", fleet.address)
    again = polyrhythm(*asked, cwd=tmp_path)
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
    fleet: HurtableFleet, prompt: str, arguments: tuple[str, ...], field: str, tmp_path: Path
) -> None:
    refused = polyrhythm("generate", prompt, *arguments, "--address", fleet.address, cwd=tmp_path)
    assert refused.returncode in {1, 2}
    assert field in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []
