"""What the scheduling core does, event by event, as it was when somebody last read it."""

from __future__ import annotations

import pytest

from tests.golden.coordinator_scripts import SCRIPTS, TRACES, render


@pytest.mark.parametrize("name", SCRIPTS)
def test_trace(name: str) -> None:
    assert render(SCRIPTS[name]()) == (TRACES / f"{name}.txt").read_text(encoding="utf-8")


def test_every_trace_has_its_script() -> None:
    assert {path.stem for path in TRACES.glob("*.txt")} == set(SCRIPTS)
