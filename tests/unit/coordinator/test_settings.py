"""What can be set from outside, and what is refused."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from polyrhythm.errors import AlreadyInUseError, InvalidArgumentError
from polyrhythm_coordinator.grpc_api.listening import address_of, try_listening
from polyrhythm_coordinator.settings import is_loopback, make_settings, read_settings

EVERYWHERE = "0.0.0.0"  # noqa: S104 - it is what must be refused


def test_defaults() -> None:
    settings = read_settings([])
    assert (settings.host, settings.port, settings.insecure_bind, settings.lifeline_fd) == (
        "127.0.0.1",
        50051,
        False,
        None,
    )


def test_help_fits_80_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        read_settings(["--help"])
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


def test_a_wrong_value_is_named_as_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYRHYTHM_COORDINATOR_PORT", "banana")
    monkeypatch.setenv("POLYRHYTHM_COORDINATOR_HOST", EVERYWHERE)
    with pytest.raises(InvalidArgumentError) as both:
        read_settings(["--log-level", "loud"])
    assert [v.field for v in both.value.violations] == ["POLYRHYTHM_COORDINATOR_PORT", "--log-level"]
    with pytest.raises(InvalidArgumentError, match="POLYRHYTHM_COORDINATOR_HOST: "):
        read_settings(["--port", "0"])
    with pytest.raises(InvalidArgumentError, match="--port: "):
        read_settings(["--port", "apple"])


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYRHYTHM_COORDINATOR_PORT", "1234")
    monkeypatch.setenv("POLYRHYTHM_COORDINATOR_LOG_LEVEL", "error")
    settings = read_settings(["--port", "4321"])
    assert (settings.port, settings.log_level) == (4321, "error")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--port", "many"], "--port"),
        (["--port", "65536"], "--port"),
        (["--host", ""], "--host"),
        (["--host", "unix:/tmp/p.sock", "--port", "5"], "--port"),
        (["--host", EVERYWHERE], "--host"),
        (["--host", "192.168.1.7"], "--host"),
        (["--host", "example.org"], "--host"),
        (["--lifeline-fd", "-1"], "--lifeline-fd"),
        (["--log-level", "loud"], "--log-level"),
    ],
)
def test_bad_options_are_named(arguments: list[str], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        read_settings(arguments)
    assert [violation.field for violation in caught.value.violations] == [field]


def test_beyond_loopback_only_on_demand() -> None:
    assert make_settings(host=EVERYWHERE, insecure_bind=True).host == EVERYWHERE
    assert [is_loopback(host) for host in ("localhost", "127.0.0.9", "::1", "10.0.0.1", "box")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_the_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--help"])
    told = capsys.readouterr().out
    assert "polyrhythm-agent" in told
    assert "POLYRHYTHM_COORDINATOR_" in told


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(AlreadyInUseError, match="--port"):
        try_listening("127.0.0.1", taken.getsockname()[1])


def test_a_host_that_is_not_ours_is_named() -> None:
    with pytest.raises(InvalidArgumentError, match="--host"):
        try_listening("192.0.2.1", 0)


def test_brackets_around_an_ipv6_host_are_taken_off() -> None:
    assert make_settings(host="[::1]").host == "::1"


def test_a_socket_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("unix:relative", f"unix:{tmp_path}/none/p", f"unix:{tmp_path}/file", "unix:/" + "a" * 200):
        with pytest.raises(InvalidArgumentError, match="--host"):
            try_listening(place, 0)


def test_a_socket_that_somebody_listens_on_is_taken_and_one_left_behind_is_not(tmp_path: Path) -> None:
    path = tmp_path / "p.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(AlreadyInUseError, match="--host"):
            try_listening(f"unix:{path}", 0)
    try_listening(f"unix:{path}", 0)


def test_addresses_are_written_as_grpc_reads_them() -> None:
    assert address_of("unix:/run/p.sock", 0) == "unix:/run/p.sock"
    assert (address_of("127.0.0.1", 1), address_of("::1", 1)) == ("127.0.0.1:1", "[::1]:1")
