"""The plan book: whoever asks for a beat that has not come waits, until it comes or the epoch ends."""

from __future__ import annotations

import threading

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


def test_the_newest_version_is_known_as_soon_as_it_comes() -> None:
    book = PlanBook(version=1, segments=(segment(0, 8, 2),), complete=True)
    book.extend(version=2, segments=(segment(4, 8, 2),), complete=True)
    assert book.newest_version == 2
    assert book.beat_at(4, version=2, current_version=1)[1] == 2


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
