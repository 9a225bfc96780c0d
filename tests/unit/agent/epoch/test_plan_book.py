"""The plan book: which beat follows which boundary, across versions and late segments."""

from __future__ import annotations

import threading

import pytest

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Assignment, Exchange, Segment
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.epoch.plan_book import PlanBook
from polyrhythm_agent.errors import EpochAbortedError


def segment(begin: int, end: int, beat: int) -> Segment:
    return Segment(
        begin_step=begin,
        end_step=end,
        beat_steps=beat,
        exchange=Exchange.SYNCHRONOUS,
        assignments=(Assignment(agent=AgentId("a"), rows=RowRange(begin=0, end=4)),),
    )


def test_beats_follow_one_another_to_the_end() -> None:
    book = PlanBook(version=1, segments=(segment(0, 3, 2), segment(3, 5, 2)), complete=True)
    step, begins = 0, []
    while (beat := book.beat_at(step, version=1, current_version=1)[0]) is not None:
        begins.append((beat.begin_step, beat.end_step))
        step = beat.end_step
    assert begins == [(0, 2), (2, 3), (3, 5)]


def test_newer_version_takes_over_at_its_first_step_or_never() -> None:
    book = PlanBook(version=1, segments=(segment(0, 8, 2),), complete=True)
    book.extend(version=2, segments=(segment(4, 8, 2),), complete=True)
    assert book.newest_version == 2
    assert book.beat_at(2, version=2, current_version=1)[1] == 1
    beat, version = book.beat_at(4, version=2, current_version=1)
    assert beat is not None
    assert (beat.end_step, version) == (6, 2)
    beat, version = book.beat_at(6, version=2, current_version=1)
    assert beat is not None
    assert (beat.begin_step, version) == (6, 1)


def test_asking_for_a_segment_that_has_not_arrived_blocks_until_it_has() -> None:
    book = PlanBook(version=1, segments=(segment(0, 2, 2),), complete=False)
    found: list[int] = []

    def ask() -> None:
        beat, _ = book.beat_at(2, version=1, current_version=1)
        assert beat is not None
        found.append(beat.end_step)

    thread = threading.Thread(target=ask)
    thread.start()
    assert not found
    book.extend(version=1, segments=(segment(2, 5, 4),), complete=True)
    thread.join(timeout=5)
    assert found == [5]


def test_abort_wakes_who_waits_for_a_segment() -> None:
    book = PlanBook(version=1, segments=(segment(0, 2, 2),), complete=False)
    raised: list[str] = []

    def ask() -> None:
        try:
            book.beat_at(2, version=1, current_version=1)
        except EpochAbortedError as error:
            raised.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    book.abort("a member is lost")
    thread.join(timeout=5)
    assert raised == ["a member is lost"]


def test_a_gap_between_segments_is_refused() -> None:
    book = PlanBook(version=1, segments=(segment(0, 2, 2),), complete=False)
    with pytest.raises(ValueError, match="begins at step 3, expected 2"):
        book.extend(version=1, segments=(segment(3, 5, 2),), complete=True)
