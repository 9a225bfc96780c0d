"""What other processes and files say is shown on the terminal and never obeyed by it."""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.markup import escape
from rich.table import Table

from polyrhythm.errors import InternalError, InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.job.events import AgentFailed
from polyrhythm.plan.explanation import Exclusion, ExclusionReason
from polyrhythm.process.printable import is_printable_line, printable, printable_event, printable_line
from polyrhythm_client.cli.failures import show_error
from polyrhythm_client.cli.job_progress import JobProgress
from polyrhythm_client.cli.tables import print_explanation
from polyrhythm_client.cli.terminal import Screen, say
from tests.fakes.coordinator import AGENTS, explanation

CLIENT = Path(__file__).parents[3] / "client" / "polyrhythm_client"
HOSTILE = "gpu\x1b]0;owned\x07\x1b[2J\u202eevil\x9b31m\r[bold]x[/bold]"
OBEYED = ("\x1b]", "\x1b[2J", "\x07", "\u202e", "\x9b", "\r")


def screen() -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    return Screen(
        file=out, width=400, force_terminal=True, color_system=None, highlight=False, legacy_windows=False
    ), out


def shown(out: io.StringIO) -> str:
    text = out.getvalue()
    assert not any(character in text for character in OBEYED), ascii(text)
    assert "\\u001b" in text
    return text


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_printable(text: str) -> None:
    line = printable_line(text)
    assert is_printable_line(line)
    assert printable(line) == line
    line.encode()


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" ")))
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert printable(text) == text


@given(st.dictionaries(st.text(), st.text()))
def test_a_json_text_keeps_its_meaning(value: dict[str, str]) -> None:
    assert json.loads(printable(json.dumps(value, ensure_ascii=False))) == value


def test_errors_and_notes_of_others() -> None:
    console, out = screen()
    show_error(console, InternalError(HOSTILE))
    show_error(console, InvalidArgumentError.of(HOSTILE, HOSTILE))
    with JobProgress(console, quiet=True) as progress:
        progress.show(AgentFailed(agent=AgentId(HOSTILE), reason=HOSTILE))
    assert "[bold]x[/bold]" in shown(out)


def test_tables_of_others() -> None:
    console, out = screen()
    table = Table(title=escape(HOSTILE))
    table.add_column(escape(HOSTILE))
    table.add_row(escape(HOSTILE))
    console.print(table)
    found = explanation()
    left_out = Exclusion(agent=AgentId(HOSTILE), reason=ExclusionReason.NOT_READY, message=HOSTILE)
    print_explanation(console, type(found)(chosen=found.chosen, runners_up=(), exclusions=(left_out,)), AGENTS)
    assert "[bold]x[/bold]" in shown(out)


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    say(HOSTILE, err=True)
    assert capsys.readouterr() == (printable(HOSTILE) + "\n",) * 2


def test_what_is_logged() -> None:
    assert printable_event(None, "info", {"agent": "a\x1b[2J", "session": 1}) == {"agent": "a\\u001b[2J", "session": 1}


def test_there_is_no_other_way_to_the_terminal() -> None:
    found = [
        f"{path.relative_to(CLIENT)}:{node.lineno}"
        for path in sorted(CLIENT.rglob("*.py"))
        if path.name != "terminal.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"typer.echo", "click.echo", "Console", "print"}
    ]
    assert found == []
