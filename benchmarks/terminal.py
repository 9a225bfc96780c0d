"""Where a study's program shows how it gets on: one console, wide enough for its tables wherever it is redirected."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from machine import MachineRecord
from rich.console import Console

TABLE_WIDTH = 200
BACKGROUND_CORES_MAX = 0.1
"""Others that keep more than this busy disturb what is timed."""

console = Console(width=None if sys.stdout.isatty() else TABLE_WIDTH)


def warn_of_others(machine: MachineRecord) -> None:
    """Says so where other processes are going to disturb the times."""
    if machine.background_cores > BACKGROUND_CORES_MAX:
        console.print(
            f"[bold]other processes keep {machine.background_cores} cores busy: expect disturbed times[/bold]"
        )


def progress_from_now() -> Callable[[str], None]:
    """A function that prints a line beside the seconds since this call."""
    began_s = time.monotonic()

    def say(line: str) -> None:
        console.print(f"{time.monotonic() - began_s:6.0f} s  {line}", markup=False, highlight=False, soft_wrap=True)

    return say
