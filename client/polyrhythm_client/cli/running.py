"""How every command runs: until it is done, fails with a typed error, or a signal ends it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape

from polyrhythm.errors import CancelledError, PolyrhythmError
from polyrhythm.process.environment import check_variables
from polyrhythm_client.cli.failures import error_account, error_console, show_error
from polyrhythm_client.cli.interrupt import beside_signals, run_until_signal
from polyrhythm_client.cli.own_fleet import FleetChoice, check_choice
from polyrhythm_client.cli.terminal import say
from polyrhythm_client.recipes.recipe import Recipe
from polyrhythm_client.recipes.recipe_file import read_recipe

if TYPE_CHECKING:
    from polyrhythm_client.cli.fleet_in_use import FleetInUse


def run_command(
    command: Callable[[Console], Coroutine[Any, Any, None]], *, as_json: bool = False, runs_until_signal: bool = False
) -> None:
    """Runs a command and ends the process with its exit code.

    Args:
        command: given the console on standard error; raises PolyrhythmError where it fails.
        as_json: whether a failure is one JSON object on standard output too.
        runs_until_signal: a signal is the way to end it, and no failure.

    Raises:
        typer.Exit: with 0, 1 (failed), 2 (bad input), or 128 plus the number of the signal that ended it.
    """
    console = error_console()

    async def work() -> int:
        try:
            check_variables(os.environ)
            await command(console)
        except PolyrhythmError as error:
            if as_json:
                say(json.dumps(error_account(error), ensure_ascii=False))
            return show_error(console, error)
        return 0

    code = run_until_signal(work())
    if code > 128:
        if as_json:
            say(json.dumps(error_account(CancelledError("interrupted"))))
        console.print("ended" if runs_until_signal else "interrupted")
        code = 0 if runs_until_signal else code
    raise typer.Exit(code)


def note_on(console: Console) -> Callable[[str], None]:
    """A function that prints one line of plain text."""

    def note(text: str) -> None:
        console.print(f"[dim]{escape(text)}[/dim]")

    return note


def show_changes(console: Console, changes: tuple[str, ...]) -> None:
    """Prints what differs from the fleet that made a picture."""
    if changes:
        console.print("[yellow]note:[/yellow] the file's picture was made with something else, so this one may differ:")
    for change in changes:
        console.print(f"  {escape(change)}")


async def read_plan_file(path: Path | None) -> Recipe | None:
    """Reads the file that ``--plan`` names, while signals are heeded; None where it names none.

    Raises:
        InvalidArgumentError: the file cannot be read, or does not say how to make a picture again.
    """
    return None if path is None else await beside_signals(lambda: read_recipe(path))


@asynccontextmanager
async def fleet_for(choice: FleetChoice, console: Console, *, quiet: bool) -> AsyncGenerator[FleetInUse]:
    """The fleet that a command uses, with a sign of life while one is started.

    Args:
        choice: what the user said.
        console: on standard error.
        quiet: show no sign of life, even on a terminal.

    Raises:
        PolyrhythmError: the user's choice means nothing, or the fleet cannot be started.
    """
    from polyrhythm_client.cli.fleet_in_use import open_fleet

    check_choice(choice)
    async with AsyncExitStack() as stack:
        with nullcontext() if quiet else console.status("looking for a fleet, or starting one") as status:
            progress = (lambda _: None) if status is None else status.update
            fleet = await stack.enter_async_context(open_fleet(choice, note_on(console), progress=progress))
        yield fleet
