"""The simulator's reading of plan versions is the agents' own, on whatever versions and steps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Assignment, Exchange, Segment
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.epoch.plan_book import PlanBook
from polyrhythm_coordinator.simulation.engine.plan_pages import MISSING, PlanPages

STEPS = 12


def segments_from(begin: int, lengths: list[tuple[int, int]]) -> tuple[Segment, ...]:
    made: list[Segment] = []
    for length, beat in lengths:
        end = min(begin + length, STEPS)
        if end > begin:
            share = Assignment(agent=AgentId("a"), rows=RowRange(begin=0, end=4))
            made.append(
                Segment(
                    begin_step=begin,
                    end_step=end,
                    beat_steps=beat,
                    exchange=Exchange.SYNCHRONOUS,
                    assignments=(share,),
                )
            )
            begin = end
    return tuple(made)


lengths = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), min_size=6, max_size=6)


@given(lengths, lengths, st.integers(0, STEPS - 1), st.integers(0, STEPS), st.sampled_from([1, 2]))
def test_agrees_with_the_agents_book(
    first: list[tuple[int, int]], second: list[tuple[int, int]], begin: int, step: int, version: int
) -> None:
    # The last segment goes on to the end, so that both versions are complete and nobody waits.
    old, new = segments_from(0, [*first, (STEPS, 2)]), segments_from(begin, [*second, (STEPS, 3)])
    book = PlanBook(version=1, segments=old, complete=True)
    book.extend(version=2, segments=new, complete=True)
    pages = PlanPages()
    pages.add(1, old, complete=True)
    pages.add(2, new, complete=True)
    assert pages.newest_version == book.newest_version == 2
    try:
        expected = book.beat_at(step, version=version, current_version=1)
    except ValueError as error:
        expected = str(error)
    try:
        found = pages.beat_at(step, version=version, current_version=1)
    except ValueError as error:
        found = str(error)
    assert found == expected


def test_a_segment_that_has_not_come_is_missing() -> None:
    old = segments_from(0, [(4, 2), (8, 2)])
    pages = PlanPages()
    pages.add(1, old[:1], complete=False)
    assert pages.beat_at(4, version=1, current_version=1)[0] is MISSING
    pages.add(1, old[1:], complete=True)
    beat, _ = pages.beat_at(4, version=1, current_version=1)
    assert beat is not MISSING
    assert beat is not None
    assert beat.begin_step == 4
    assert pages.beat_at(12, version=1, current_version=1) == (None, 1)
