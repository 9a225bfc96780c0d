"""Plans of a larger gang, and several plans as one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.gang_plan import followed_segments, spliced, steps_taken, widened
from polyrhythm.ids import AgentId
from polyrhythm.plan import Exchange, Plan
from tests.plans import agent_ids, plan, segment

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
