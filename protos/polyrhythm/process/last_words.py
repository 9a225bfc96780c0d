"""The end of what a process wrote before it ended, for whoever waits for it."""

from __future__ import annotations

LAST_WORDS_BYTES = 4096
SHOWN_LINES = 5
OWN_PROGRAMS = ("polyrhythm-agent: ", "polyrhythm-agent calibrate: ", "polyrhythm-coordinator: ")
"""How programs of ours begin the line in which they say why they end."""


class LastWords:
    """Keeps the end of what is written, ``LAST_WORDS_BYTES`` at most."""

    def __init__(self) -> None:
        self._tail = b""

    def add(self, data: bytes) -> None:
        """Takes what was written next."""
        self._tail = (self._tail + data)[-LAST_WORDS_BYTES:]

    @property
    def text(self) -> str:
        """All that is kept, in whole lines."""
        return whole_lines(self._tail)


def whole_lines(tail: bytes) -> str:
    """The end of a text without the line that it begins in the middle of, where it was cut to ``LAST_WORDS_BYTES``."""
    if len(tail) == LAST_WORDS_BYTES and b"\n" in tail.rstrip():
        tail = tail.split(b"\n", maxsplit=1)[1]
    return tail.decode(errors="replace").strip()


def quoted(words: str) -> str:
    """The last lines of last words, to be put behind what is told of an end; empty where nothing was said.

    Of a program of ours that says itself why it ends, that and no line of the log before it.
    """
    lines = words.splitlines()
    own = [index for index, line in enumerate(lines) if line.startswith(OWN_PROGRAMS)]
    shown = "\n".join(lines[own[-1] :] if own else lines[-SHOWN_LINES:])
    return f"; it said:\n{shown}" if shown else ""
