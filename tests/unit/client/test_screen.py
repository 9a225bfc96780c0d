"""What a person is told on standard error."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from polyrhythm.ids import AgentId
from polyrhythm.job_events import AgentFailed, Planned, Replanned, ReplanReason
from polyrhythm_client.screen import JobProgress
from polyrhythm_client.tables import print_explanation
from tests.fake_coordinator import explanation
from tests.plans import plan, segment

NOTED = replace(explanation(), notices=("scheduler [x] is not offered", "no plan has strides"))


@pytest.mark.parametrize(
    ("reason", "told"),
    [("not a number", "agent a: not a number\n"), ("", "agent a: its run broke off\n")],
)
def test_a_member_whose_run_failed_is_not_called_lost(reason: str, told: str) -> None:
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    with JobProgress(console, quiet=True) as progress, console.capture() as said:
        progress.show(AgentFailed(agent=AgentId("a"), reason=reason))
    assert said.get() == told


def test_notices_of_a_plan_are_said_once_however_many_pictures_follow_it() -> None:
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    with JobProgress(console, quiet=True) as progress, console.capture() as said:
        for index in range(3):
            progress.show(Planned(image_index=index, explanation=NOTED))
    assert said.get() == "note: scheduler [x] is not offered\nnote: no plan has strides\n"


def test_notices_stand_under_an_explained_plan() -> None:
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    with console.capture() as said:
        print_explanation(console, NOTED, ())
    assert "note: scheduler [x] is not offered\nnote: no plan has strides\n" in said.get()


def test_a_new_plan_is_told_with_its_reason_and_whoever_holds_rows() -> None:
    after = plan(segment(8, 20, (8, 0)), begin_step=8, version=2)
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    with JobProgress(console, quiet=True) as progress, console.capture() as said:
        progress.show(Replanned(image_index=0, reason=ReplanReason.AGENT_DRAINED, begin_step=8, plan=after))
    assert said.get() == "a new plan from step 8 on (agent drained): agent-0\n"
