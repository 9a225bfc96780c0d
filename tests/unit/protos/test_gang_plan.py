"""Plans of a larger gang, and several plans as one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyrhythm.codec.bounds import SEGMENTS_MAX
from polyrhythm.codec.image import image_request_from_proto, image_request_to_proto, too_long_to_ask_for
from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageRequest
from polyrhythm.plan.gang_plan import followed_segments, joined, spliced, steps_taken, widened
from polyrhythm.plan.plan import Exchange, Plan, Segment
from tests.values.plans import agent_ids, plan, segment
from tests.values.strategies import plans

FIRST = plan(segment(0, 4, (4, 4)), segment(4, 20, (4, 4), exchange=Exchange.DISPLACED, strides=(1, 2), beat_steps=4))
SECOND = plan(segment(12, 20, (8, 0), beat_steps=4), begin_step=12, version=2)
IDLE = AgentId("idle")


def test_whoever_is_new_in_a_gang_holds_no_rows() -> None:
    body = FIRST.segments[1]
    wide = widened(body, (agent_ids(2)[0], IDLE, agent_ids(2)[1]))
    assert [share.rows.count for share in wide.assignments] == [4, 0, 4]
    assert wide.interval_steps == body.interval_steps
    assert [wide.of(agent) for agent in body.agents] == list(body.assignments)


def test_a_plan_is_followed_up_to_the_next_one() -> None:
    assert [(part.begin_step, part.end_step) for part in followed_segments((FIRST, SECOND))] == [
        (0, 4),
        (4, 12),
        (12, 20),
    ]


def test_one_plan_amounts_to_itself() -> None:
    assert spliced((replace(FIRST, version=3),)) == FIRST


def test_the_last_plan_decodes() -> None:
    moved = replace(SECOND, decoder=agent_ids(1)[0])
    assert spliced((FIRST, moved)).decoder == agent_ids(1)[0]
    assert spliced((FIRST, moved)).encoder == FIRST.encoder


def test_steps_that_were_made_twice_count_once() -> None:
    again = replace(SECOND, begin_step=8, version=3, segments=(segment(8, 20, (0, 8), beat_steps=4),))
    one = spliced((FIRST, SECOND, again))
    assert [(part.begin_step, part.end_step) for part in one.segments] == [(0, 4), (4, 8), (8, 20)]


def beats_of(segments: Iterable[Segment]) -> list[tuple[object, ...]]:
    """All that a run takes from segments."""
    return [
        (beat.begin_step, beat.end_step, found.exchange, found.assignments)
        for found in segments
        for beat in found.beats()
    ]


@given(whole=plans(), data=st.data())
def test_segments_that_are_joined_are_run_as_before(whole: Plan, data: st.DataObject) -> None:
    pieces: list[Segment] = []
    for found in whole.segments:
        cuts = [beat.begin_step for beat in found.beats() if data.draw(st.booleans())]
        edges = [found.begin_step, *(cut for cut in cuts if cut > found.begin_step), found.end_step]
        pieces += [replace(found, begin_step=begin, end_step=end) for begin, end in pairwise(edges)]
    fewer = joined(pieces)
    assert beats_of(fewer) == beats_of(pieces) == beats_of(whole.segments)
    assert len(fewer) <= len(whole.segments)


def test_a_picture_that_was_planned_anew_again_and_again_is_one_plan_that_can_be_asked_for() -> None:
    steps = SEGMENTS_MAX + 72
    followed = [
        plan(segment(begin, steps, (4, 4), beat_steps=1), begin_step=begin, version=begin + 1) for begin in range(steps)
    ]
    one = spliced(followed)
    assert [(part.begin_step, part.end_step) for part in one.segments] == [(0, steps)]
    request = ImageRequest(prompt="again", plan=one)
    assert image_request_from_proto(image_request_to_proto(request)).plan == one


@pytest.mark.parametrize(
    ("members", "segments", "told"),
    [
        (2, SEGMENTS_MAX, ""),
        (2, SEGMENTS_MAX + 1, "129 segments, and a request at most 128"),
        (16, 128, ""),
        (17, 128, "2176 assignments of rows, and a request at most 2048"),
    ],
)
def test_what_cannot_be_asked_for_again_is_told_when_it_is_made(members: int, segments: int, told: str) -> None:
    rest = (0,) * (members - 2)
    turns = [((4, 4), (5, 3))[begin % 2] for begin in range(segments)]
    one = plan(*(segment(k, k + 1, (*rows, *rest), beat_steps=1) for k, rows in enumerate(turns)))
    assert told in too_long_to_ask_for(one)
    assert bool(told) is bool(too_long_to_ask_for(one))
    request = image_request_to_proto(ImageRequest(prompt="again", plan=one))
    with pytest.raises(InvalidArgumentError) if told else nullcontext():
        image_request_from_proto(request)


def test_no_plan_amounts_to_none() -> None:
    with pytest.raises(ValueError, match="no plan was followed"):
        spliced(())


def test_one_agent_begins_with_merged_steps_and_others_join_it() -> None:
    """Where one member holds all rows nothing is stale, so its steps may be merged from the first one on."""
    alone = plan(segment(0, 20, (8,), exchange=Exchange.DISPLACED, strides=(2,), beat_steps=4))
    joined = plan(segment(8, 20, (4, 4)), begin_step=8, version=2)
    one = spliced((alone, joined))
    assert one.agents == agent_ids(2)
    assert one.segments[0] == widened(replace(alone.segments[0], end_step=8), one.agents)
    assert [part.reads_stale for part in one.segments] == [False, False]


@pytest.mark.parametrize(
    ("plans", "taken"),
    [
        ((plan(segment(0, 1, (8,))),), "1 step"),
        ((plan(segment(0, 20, (4, 4))),), "20 steps"),
        ((FIRST,), "20 steps on fast rows and 12 on slow ones"),
        ((FIRST, SECOND), "20 steps on fast rows and 16 on slow ones"),
        ((plan(segment(0, 20, (8,), exchange=Exchange.DISPLACED, strides=(2,), beat_steps=4)),), "10 of 20 steps"),
        (
            (
                plan(
                    segment(0, 4, (4, 4)),
                    segment(4, 12, (4, 4), exchange=Exchange.DISPLACED, strides=(2, 2), beat_steps=4),
                    segment(12, 20, (6, 2), exchange=Exchange.DISPLACED, strides=(1, 4), beat_steps=4),
                ),
            ),
            "16 of 20 steps on fast rows and 10 on slow ones",
        ),
    ],
)
def test_the_steps_that_fast_and_slow_rows_took_are_counted(plans: tuple[Plan, ...], taken: str) -> None:
    assert str(steps_taken(plans)) == taken
