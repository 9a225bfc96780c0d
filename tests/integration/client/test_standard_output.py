"""``generate -o -``: the picture's bytes on standard output, and nothing else there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import redirect_stdout

import pytest

from polyrhythm_client.cli.main import app
from polyrhythm_client.recipes.png import read_texts
from polyrhythm_client.recipes.recipe import PROMPT_KEY
from tests.fakes.coordinator import PNG, FakeCoordinator, serving


@pytest.fixture
def address() -> Iterator[str]:
    with serving(FakeCoordinator()) as address:
        yield address


def run(address: str, *arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        app(["generate", "red apple", "-o", "-", "--address", address, *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_standard_output_is_the_png_file_and_what_is_said_goes_to_standard_error(
    address: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(address) == 0
    said = capsysbinary.readouterr()
    assert said.out[:8] == PNG[:8]
    assert said.out.endswith(PNG[33:])
    assert read_texts(said.out)[PROMPT_KEY] == "red apple"
    assert b"standard output: 128x128, " in said.err


@pytest.mark.parametrize("arguments", [("--count", "3"), ("--json",), ("--preview-every", "2")])
def test_what_would_also_go_to_standard_output_is_refused_by_name(
    address: str, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert run(address, *arguments) == 2
    said = capsys.readouterr()
    assert said.err.split(":")[:2] == ["error", " output"]
    assert said.out.startswith('{"error": ' if "--json" in arguments else "")
    assert "PNG" not in said.out
    assert " ".join(arguments).removesuffix(" 2") in said.err


def test_no_terminal_is_filled_with_the_bytes_of_a_picture(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.openpty()
    try:
        with open(writer, "w", encoding="utf-8") as terminal, redirect_stdout(terminal):
            assert run(address) == 2
        assert "standard output is a terminal" in capfd.readouterr().err
        os.set_blocking(reader, False)
        with pytest.raises(OSError, match="Input/output error"):  # nothing was written before its end
            os.read(reader, 1)
    finally:
        os.close(reader)
