"""Logs of a fleet's processes in one file or in a file each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_client.local.logs import FleetLogs


def test_one_file_holds_whole_lines_with_the_name_of_who_said_them(tmp_path: Path) -> None:
    logs = FleetLogs(str(tmp_path / "fleet.log"))
    one, other = logs.of("coordinator"), logs.of("local-0")
    one(b"rea")
    other(b"loading\nmodel\n")
    one(b"dy\nand no")
    one(b"")
    logs.close()
    assert (tmp_path / "fleet.log").read_text().splitlines() == [
        "[local-0] loading",
        "[local-0] model",
        "[coordinator] ready",
        "[coordinator] and no",
    ]


@pytest.mark.parametrize("name", ["logs/", "there"])
def test_a_folder_holds_a_file_a_process_and_what_was_there_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / "there").mkdir()
    for _ in range(2):
        logs = FleetLogs(str(tmp_path) + "/" + name)
        logs.of("local-0")(b"loading\n")
        logs.close()
    assert (tmp_path / name / "local-0.log").read_text() == "loading\nloading\n"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"log: .*/no/fleet.log cannot be written: No such file"):
        FleetLogs(str(tmp_path / "no" / "fleet.log"))


def test_a_pipe_that_nobody_reads_is_named_or_loses_lines_and_holds_nobody_up(tmp_path: Path) -> None:
    pipe = tmp_path / "fleet.log"
    os.mkfifo(pipe)
    with pytest.raises(InvalidArgumentError, match=r"log: .*/fleet.log cannot be written: "):
        FleetLogs(str(pipe))
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    logs = FleetLogs(str(pipe))
    keep = logs.of("local-0")
    for _ in range(20):
        keep(b"loading\n" * 1000)
    logs.close()
    assert os.read(reader, 18) == b"[local-0] loading\n"
    os.close(reader)


def test_a_full_disk_ends_nothing() -> None:
    logs = FleetLogs("/dev/full")
    logs.of("local-0")(b"loading\n")
    logs.close()


@pytest.mark.parametrize("path", ["~nobody-of-this-name/fleet.log", "x" * 5000])
def test_a_path_that_means_nothing_is_named(path: str) -> None:
    with pytest.raises(InvalidArgumentError, match="cannot be written"):
        FleetLogs(path)
