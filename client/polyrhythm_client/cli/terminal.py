"""The client's only way to a terminal: what agents, coordinators and files say is shown there and never obeyed.

Names, reasons and notes come from other processes and machines. Everything that is printed goes through here, so that
no place where text is made has to think of it: ``Screen`` for what rich lays out, ``say`` for plain lines.
"""

from __future__ import annotations

from collections.abc import Iterable

import typer
from rich.console import Console, ConsoleOptions, RenderableType
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
