"""What the parser of the command line refuses is refused like everything else: one line that names the field."""

from __future__ import annotations

import json

import pytest

from polyrhythm_client.cli.main import app


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        app(list(arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "x", "--sampler", "nope"), "sampler: 'nope' is not one of 'ddim', 'dpmpp-2m'"),
        (("generate", "x", "--steps", "many"), "steps: "),
        (("plan", "x", "--colour", "red"), "colour: no such option: --colour"),
        (("generate", "x", "y"), "command: "),
        (("generate", "x", "--seed"), "seed: "),
        (("drain",), "agent: "),
        (("paint",), "command: no such command 'paint'"),
    ],
)
def test_a_line_names_the_field(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {message}")
    assert said.err.count("\n") == 1
    assert "Value error" not in said.err


def test_with_json_it_is_one_object_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("generate", "x", "--quality", "nope", "--json") == 2
    (wrong,) = json.loads(capsys.readouterr().out)["error"]["fields"]
    assert wrong["field"] == "quality"


@pytest.mark.parametrize(("arguments", "code"), [(("--version",), 0), (("generate", "--help"), 0), ((), 2)])
def test_help_and_version_are_no_errors(
    arguments: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == code
    assert "error" not in capsys.readouterr().err
