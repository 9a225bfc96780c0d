"""What a person reads of a job on standard error."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console

from polyrhythm.ids import AgentId
from polyrhythm.job.events import (
    AgentFailed,
    ImageChunk,
    ImagePlanned,
    ImageReplanned,
    JobDelayed,
    ModelPartLoaded,
    ReplanReason,
)
from polyrhythm.model.facts import ModelPart
from polyrhythm.plan.explanation import Candidate, Exclusion, ExclusionReason
from polyrhythm.plan.plan import Exchange
from polyrhythm_client.cli.job_progress import JobProgress
from polyrhythm_client.cli.summary import replans_message
from polyrhythm_client.cli.tables import print_explanation
from tests.fakes.coordinator import explanation
from tests.values.plans import plan, segment

NOTED = replace(explanation(), notices=("scheduler [x] is not offered", "no plan has strides"))


@pytest.mark.parametrize(
    ("reason", "message"),
    [("not a number", "agent a: not a number\n"), ("", "agent a: its run broke off\n")],
)
def test_a_member_whose_run_failed_is_not_called_lost(reason: str, message: str) -> None:
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    with JobProgress(console, quiet=True) as progress, console.capture() as said:
        progress.show(AgentFailed(agent=AgentId("a"), reason=reason))
    assert said.get() == message


def test_a_picture_that_waits_for_loading_says_so_where_nobody_watches() -> None:
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    with JobProgress(console, quiet=True) as progress, console.capture() as said:
        progress.show(ModelPartLoaded(image_index=0, agent=AgentId("a"), part=ModelPart.TEXT_ENCODER, loading_s=2.5))
    assert said.get() == "agent a: loaded the text encoder, the picture waited 2.5 s\n"


def test_notices_of_a_plan_are_said_once_however_many_pictures_follow_it() -> None:
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    with JobProgress(console, quiet=True) as progress, console.capture() as said:
        for index in range(3):
            progress.show(ImagePlanned(image_index=index, explanation=NOTED))
    left_out = f"note: old takes no part: {NOTED.exclusions[0].message}\n"
    assert said.get() == "note: scheduler [x] is not offered\nnote: no plan has strides\n" + left_out


def test_bytes_that_are_missing_are_told_beside_the_picture() -> None:
    message = "old does not fit: the smallest share of this picture needs 42.9 MiB, free to it are 20.0 MiB"
    small = Exclusion(agent=AgentId("old"), reason=ExclusionReason.TOO_LITTLE_MEMORY, message=message)
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    with JobProgress(console, quiet=True) as progress, console.capture() as said:
        progress.show(ImagePlanned(image_index=0, explanation=replace(explanation(), exclusions=(small,))))
        other = replace(small, message=message.replace("20.0", "19.0"))
        progress.show(ImagePlanned(image_index=1, explanation=replace(explanation(), exclusions=(other,))))
    assert said.get() == f"note: old takes no part: {message}\n"


def test_why_pictures_are_shared_out_is_said_once_and_nobody_is_missed() -> None:
    left = Exclusion(agent=AgentId("b"), reason=ExclusionReason.OTHER_PICTURES, message="b is left to other pictures")
    shared = replace(explanation(), exclusions=(left,), sharing="2 pictures wait: each by one device")
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    with JobProgress(console, quiet=True) as progress, console.capture() as said:
        for index in range(2):
            progress.show(ImagePlanned(image_index=index, explanation=shared))
    assert said.get() == "2 pictures wait: each by one device\n"


def test_a_job_that_waits_says_for_what() -> None:
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    with JobProgress(console, quiet=True) as progress, console.capture() as said:
        progress.show(JobDelayed(reason="all are drained: a [b]"))
    assert said.get() == "waiting: all are drained: a [b]\n"


def test_who_was_left_out_by_the_user_is_not_told_so() -> None:
    named = Exclusion(agent=AgentId("old"), reason=ExclusionReason.NOT_NAMED, message="not among --devices")
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    with JobProgress(console, quiet=True) as progress, console.capture() as said:
        progress.show(ImagePlanned(image_index=0, explanation=replace(explanation(), exclusions=(named,))))
    assert said.get() == ""


def test_predicted_decibels_are_seen_on_a_terminal_of_80_columns() -> None:
    explained = explanation()
    merged = plan(segment(0, 4, (16,), exchange=Exchange.DISPLACED, strides=(2,)), segment(4, 20, (16,)))
    prediction = replace(explained.chosen.prediction, psnr_db=38.6, denoise_s=123.456)
    chosen = Candidate(label="solo local-0, merged steps", plan=merged, prediction=prediction)
    console = Console(file=io.StringIO(), highlight=False, width=80)
    with console.capture() as said:
        print_explanation(console, replace(explained, chosen=chosen), ())
    table = said.get()
    assert "PSNR" in table.split("in seconds")[1].split("chosen")[0]
    assert "38.6" in table
    assert "merged steps: everybody at work takes two or more steps" in table


def test_notices_stand_under_an_explained_plan() -> None:
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    with console.capture() as said:
        print_explanation(console, NOTED, ())
    assert "note: scheduler [x] is not offered\nnote: no plan has strides\n" in said.get()


def test_a_new_plan_is_told_with_its_reason_and_whoever_holds_rows() -> None:
    after = plan(segment(8, 20, (8, 0)), begin_step=8, version=2)
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    with JobProgress(console, quiet=True) as progress, console.capture() as said:
        progress.show(ImageReplanned(image_index=0, reason=ReplanReason.AGENT_DRAINED, begin_step=8, plan=after))
    assert said.get() == "a new plan from step 8 on (agent drained): agent-0\n"


def test_of_plans_for_a_changed_speed_the_first_is_told_and_the_others_are_counted() -> None:
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    reasons = [ReplanReason.SPEED_CHANGED] * 3 + [ReplanReason.AGENT_LOST, ReplanReason.SPEED_CHANGED]
    with JobProgress(console, quiet=True) as progress, console.capture() as said:
        for index, reason in enumerate(reasons):
            begin_step = 2 * index + 2
            newer = plan(segment(begin_step, 12, (4, 4)), begin_step=begin_step)
            progress.show(ImageReplanned(image_index=0, reason=reason, begin_step=begin_step, plan=newer))
        for offset in range(2):
            progress.show(ImageChunk(image_index=0, offset=offset, data=b"x", last=offset == 1))
    assert said.get().splitlines() == [
        "a new plan from step 2 on (speed changed): agent-0, agent-1",
        "a new plan from step 8 on (agent lost): agent-0, agent-1",
        "3 more new plans (speed changed) from steps 4, 6, 10 on",
    ]
    assert replans_message(Counter(reasons)) == ", re-plans: 5 (speed 4, lost 1)"
    assert replans_message({}) == ""
