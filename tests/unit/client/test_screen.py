"""What a person is told on standard error."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from polyrhythm.ids import AgentId
from polyrhythm.job_events import AgentFailed
from polyrhythm_client.screen import JobProgress


@pytest.mark.parametrize(
    ("reason", "told"),
    [("not a number", "agent a: not a number\n"), ("", "agent a: its run broke off\n")],
)
def test_a_member_whose_run_failed_is_not_called_lost(reason: str, told: str) -> None:
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    with JobProgress(console, quiet=True) as progress, console.capture() as said:
        progress.show(AgentFailed(agent=AgentId("a"), reason=reason))
    assert said.get() == told
