"""Commands whose standard streams are closed or full: what is to be done is done, and there is no traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.fakes.coordinator import FakeCoordinator, serving

FLEET = Path("examples/fleet.toml").resolve()
CLI = (sys.executable, "-m", "polyrhythm_client.cli.main")
REDIRECTIONS = {
    "closed output": ">&- 2>error.txt",
    "full output": ">/dev/full 2>error.txt",
    "closed errors": ">output.txt 2>&-",
    "full errors": ">output.txt 2>/dev/full",
    "nothing at all": "<&- >&- 2>&-",
}
LOST = "error: standard output: No space left on device\n"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(FakeCoordinator()) as address:
        yield address


def run(folder: Path, command: Sequence[str], redirection: str) -> tuple[int, str, str]:
    """Exit code, output and errors of one command in a folder of its own."""
    folder.mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {REDIRECTIONS[redirection]}', "sh", *command],
        cwd=folder,
        check=False,
        timeout=60,
    )
    said = [path.read_text() if (path := folder / name).exists() else "" for name in ("output.txt", "error.txt")]
    return done.returncode, said[0], said[1]


GENERATE = ("generate", "p", "-o", "a.png")


@pytest.mark.parametrize(
    ("command", "redirection"),
    [
        *((GENERATE, redirection) for redirection in REDIRECTIONS),
        ((*GENERATE, "--json"), "full output"),
        (("agents",), "closed output"),
        (("plan", "p", "--json"), "full output"),
        (("drain", "local-1"), "full errors"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_is_to_be_done_is_done(address: str, tmp_path: Path, command: tuple[str, ...], redirection: str) -> None:
    code, output, errors = run(tmp_path / "run", (*CLI, *command, "--address", address), redirection)
    assert code == (1 if redirection == "full output" else 0)
    assert "Traceback" not in errors
    assert errors.endswith(LOST) == (redirection == "full output")
    assert bool(output) == ("output" in REDIRECTIONS[redirection])
    if "generate" in command:
        assert (tmp_path / "run" / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_to_standard_output_is_told_once(address: str, tmp_path: Path) -> None:
    code, _, errors = run(tmp_path / "run", (*CLI, "generate", "p", "-o", "-", "--address", address), "full output")
    assert (code, errors.count("No space left on device"), "Traceback" in errors) == (2, 1, False)


@pytest.mark.parametrize(
    "command",
    [
        (*CLI, "up", "--port", "99999"),
        (*CLI, "calibrate", "none/such/model"),
        (sys.executable, "-m", "polyrhythm_agent.daemon.main", "--port", "x"),
        (sys.executable, "-m", "polyrhythm_coordinator.server", "--port", "x"),
    ],
    ids=["up", "calibrate", "agent", "coordinator"],
)
def test_a_refusal_needs_nobody_who_reads_it(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert run(tmp_path / "run", command, "nothing at all")[0] == 2


def test_a_reader_who_has_enough_is_told_nothing() -> None:
    script = f"{sys.executable} -m polyrhythm_client.cli.main simulate --devices {FLEET} --json | head -c 1"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == (b"{", b"")


def test_a_picture_goes_nowhere_without_standard_output(address: str, tmp_path: Path) -> None:
    command = (*CLI, "generate", "p", "-o", "-", "--address", address)
    code, _, errors = run(tmp_path / "run", command, "closed output")
    assert (code, errors) == (2, "error: output: there is no standard output: it is closed\n")
