"""What is shown of the last words of a child process that ended."""

from __future__ import annotations

import pytest

from polyrhythm.process.last_words import LAST_WORDS_BYTES, SHOWN_LINES, whole_lines
from polyrhythm_client.local.child import ChildEndedError


@pytest.mark.parametrize(
    ("tail", "whole"),
    [
        (b"", ""),
        (b"first\nsecond\n", "first\nsecond"),
        (b"x" * (LAST_WORDS_BYTES - 7) + b"\nwhole\n", "whole"),
        (b"x" * LAST_WORDS_BYTES, "x" * LAST_WORDS_BYTES),
    ],
)
def test_a_line_that_was_cut_is_not_shown(tail: bytes, whole: str) -> None:
    assert whole_lines(tail) == whole


def test_of_a_long_log_the_last_lines_are_shown() -> None:
    lines = [f"line {number}" for number in range(20)]
    error = ChildEndedError("coordinator", -9, "\n".join(lines))
    assert str(error) == "coordinator was ended by SIGKILL; it said:\n" + "\n".join(lines[-SHOWN_LINES:])
    assert error.last_words.splitlines() == lines


@pytest.mark.parametrize("program", ["polyrhythm-agent", "polyrhythm-agent calibrate", "polyrhythm-coordinator"])
def test_a_program_that_says_why_it_ends_is_not_drowned_in_its_log(program: str) -> None:
    words = "\n".join(["log"] * 9 + [f"{program}: the worker ended; it said:", "no such folder"])
    assert str(ChildEndedError("local-0", 1, words)) == (
        f"local-0 ended with exit code 1; it said:\n{program}: the worker ended; it said:\nno such folder"
    )
