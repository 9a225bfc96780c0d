"""Facts are said as often as they are so; clients are told what is new, and not too often."""

from __future__ import annotations

from polyrhythm.ids import AgentId
from polyrhythm.job.events import (
    AgentFailed,
    ImageProgressed,
    ImageReplanned,
    JobDelayed,
    JobQueued,
    ProfilingProgressed,
    ReplanReason,
)
from polyrhythm_coordinator.runtime.news import PROGRESS_INTERVAL_S, News
from tests.values.plans import exact_plan

MEASURING = ProfilingProgressed(agents=(AgentId("a"),), width_px=64, height_px=64, done=0, total=2)
REPLANNED = ImageReplanned(image_index=0, reason=ReplanReason.AGENT_LOST, begin_step=4, plan=exact_plan(12, (8,)))


def progress(step: int, index: int = 0) -> ImageProgressed:
    return ImageProgressed(image_index=index, step=step, steps=12, left_s=1.0, agents=())


def test_progress_is_told_seldom_its_beginning_and_its_end_at_once() -> None:
    news = News()
    told = [step for step in range(13) if news.is_new(progress(step), 0.01 * step)]
    assert told == [0, 12]
    slow = News()
    assert all(slow.is_new(progress(step), PROGRESS_INTERVAL_S * step) for step in range(13))


def test_progress_that_was_held_back_is_due_after_a_while_and_once() -> None:
    news = News()
    assert news.is_new(progress(0), 0.0)
    assert not news.is_new(progress(1), 0.05)
    assert not news.is_new(progress(2), 0.1)
    assert news.due(0.15) == ()
    assert news.due(PROGRESS_INTERVAL_S) == (progress(2),)
    assert news.due(10.0) == ()


def test_progress_of_one_picture_holds_back_no_other() -> None:
    news = News()
    assert news.is_new(progress(3), 0.0)
    assert news.is_new(progress(1, index=1), 0.0)


def test_progress_never_goes_back_unless_another_plan_does() -> None:
    news = News()
    assert news.is_new(progress(6), 0.0)
    assert not news.is_new(progress(5), 0.05)
    assert not news.is_new(progress(7), 0.1)
    assert news.is_new(REPLANNED, 0.1)
    assert news.due(9.0) == ()  # of the plan before
    assert news.is_new(progress(4), 0.1)


def test_a_delay_is_told_once_a_reason_and_picture() -> None:
    news, reason, other = News(), JobDelayed(reason="drained"), JobDelayed(reason="loading")
    told = [news.is_new(fact, 0.0, index) for _ in range(3) for fact, index in ((reason, 0), (other, 1))]
    assert told == [True, True] + 4 * [False]
    assert news.is_new(other, 0.0, 0)
    assert news.is_new(reason, 0.0, 0)


def test_a_delay_is_told_again_after_the_picture_went_on() -> None:
    news, reason = News(), JobDelayed(reason="drained")
    assert news.is_new(reason, 0.0, 0)
    assert news.is_new(REPLANNED, 0.0)
    assert news.is_new(reason, 0.0, 0)
    assert news.is_new(MEASURING, 0.0, 0)
    assert news.is_new(reason, 0.0, 0)


def test_measuring_is_told_whenever_somebody_begins() -> None:
    news, a, b = News(), AgentId("a"), AgentId("b")
    course = [((a, b), 0), ((a, b), 0), ((a,), 1), ((), 2), ((a, b), 2), ((b,), 3), ((b,), 2)]
    told = [
        news.is_new(ProfilingProgressed(agents=agents, width_px=64, height_px=64, done=done, total=4), 0.0, 0)
        for agents, done in course
    ]
    assert told == [True, False, False, False, True, False, False]
    assert news.is_new(ProfilingProgressed(agents=(b,), width_px=128, height_px=64, done=0, total=1), 0.0, 0)


def test_a_place_is_told_when_it_changes() -> None:
    news = News()
    assert [news.is_new(JobQueued(position=place), 0.0) for place in (3, 3, 2, 2, 0)] == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_what_happens_is_always_told() -> None:
    news, failed = News(), AgentFailed(agent=AgentId("a"), reason="killed")
    assert news.is_new(failed, 0.0)
    assert news.is_new(failed, 0.0)
