"""Stale step reports are dropped; nothing else is, and nothing overtakes."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from polyrhythm.ids import EpochId
from polyrhythm.job.reports import BeatReport
from polyrhythm.session.events import AgentEvent, BeatDone, StepDone, WorkerLost
from polyrhythm_agent.worker.report_batch import ReportBatch, can_wait

EPOCH = EpochId(incarnation=1, counter=1)
LOST = WorkerLost(reason="r")


def step(number: int) -> StepDone:
    return StepDone(epoch=EPOCH, step=number)


def beat(number: int, *, changed: bool = False) -> BeatDone:
    return BeatDone(
        report=BeatReport(
            epoch=EPOCH,
            boundary_step=number,
            plan_version=1,
            active_steps=1,
            busy_s=0.1,
            wait_s=0.0,
            sent_bytes=0,
            wall_s=0.1,
            last=False,
            changed=changed,
        )
    )


def batch_of(*events: AgentEvent) -> ReportBatch:
    batch = ReportBatch()
    for event in events:
        batch.add(event)
    return batch


def test_a_newer_report_replaces_the_step_report_before_it() -> None:
    assert batch_of(step(1), step(2), beat(2), step(3)).take() == (beat(2), step(3))


def test_every_beat_is_told() -> None:
    assert batch_of(beat(1), beat(2)).take() == (beat(1), beat(2))


def test_a_step_report_before_another_kind_of_event_stays() -> None:
    assert batch_of(step(1), LOST).take() == (step(1), LOST)


def test_what_was_taken_is_gone() -> None:
    batch = batch_of(step(1))
    batch.take()
    assert batch.take() == ()


@given(st.lists(st.sampled_from(["step", "beat", "lost", "take"]), max_size=40))
def test_order_is_kept_and_nothing_but_stale_steps_is_lost(script: list[str]) -> None:
    batch = ReportBatch()
    offered: list[AgentEvent] = []
    sent: list[AgentEvent] = []
    for number, kind in enumerate(script):
        if kind == "take":
            sent += batch.take()
            continue
        event = {"step": step, "beat": beat, "lost": lambda n: WorkerLost(reason=str(n))}[kind](number)
        offered.append(event)
        batch.add(event)
    sent += batch.take()
    assert sent == [event for event in offered if event in sent]
    assert [e for e in sent if not isinstance(e, StepDone)] == [e for e in offered if not isinstance(e, StepDone)]
    assert sent[-1:] == offered[-1:]


def test_a_beat_that_shows_a_change_of_speed_does_not_wait() -> None:
    assert can_wait(beat(4))
    assert not can_wait(beat(4, changed=True))
