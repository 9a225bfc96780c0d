"""How every command runs: until it is done, fails with a typed error, or a signal ends it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from polyrhythm.errors import PolyrhythmError
from polyrhythm_client.interrupt import run_until_signal
from polyrhythm_client.screen import error_console, show_error


def run_command(command: Callable[[Console], Coroutine[Any, Any, None]]) -> None:
    """Runs a command and ends the process with its exit code.

    Args:
        command: given the console on standard error; raises PolyrhythmError where it fails.

    Raises:
        typer.Exit: with 0, 1 (failed), 2 (bad input), or 128 plus the number of the signal that ended it.
    """
    console = error_console()

    async def work() -> int:
        try:
            await command(console)
        except PolyrhythmError as error:
            return show_error(console, error)
        return 0

    code = run_until_signal(work())
    if code > 128:
        console.print("interrupted")
    raise typer.Exit(code)


def note_on(console: Console) -> Callable[[str], None]:
    """A function that prints one line of plain text."""

    def note(text: str) -> None:
        console.print(f"[dim]{escape(text)}[/dim]")

    return note
