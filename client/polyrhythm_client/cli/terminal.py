"""The client's only way to a terminal: what agents, coordinators and files say is shown there and never obeyed.

Names, reasons and notes come from other processes and machines. Everything that is printed goes through here, so that
no place where text is made has to think of it: ``Screen`` for what rich lays out, ``say`` for plain lines,
``StartingSign`` for a sign of life.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment

from polyrhythm.process.printable import printable


class Screen(Console):
    """A console of rich whose texts are printable; what rich itself sends to move the cursor passes."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Renders as rich does, text by text made printable."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def say(text: str, *, err: bool = False) -> None:
    """Prints a line, or a JSON text, which keeps its meaning."""
    typer.echo(printable(text), err=err)


class StartingSign:
    """A sign of life on standard error while a fleet starts, out of the way of what goes to standard output.

    Args:
        console: on standard error.
        text: what is going on at first.
    """

    def __init__(self, console: Console, text: str) -> None:
        self._status = console.status(escape(text))
        self._shown = False

    def __enter__(self) -> Self:
        self._shown = True
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown = False
        self._status.stop()

    def update(self, text: str) -> None:
        """Something else is going on."""
        self._status.update(escape(text))

    def say(self, line: str) -> None:
        """Prints a line on standard output; while the sign is shown, that belongs to it."""
        self._status.stop()
        say(line)
        if self._shown:
            self._status.start()
