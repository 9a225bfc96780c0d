"""The message rule by example: plans small enough to check with a pencil."""

from __future__ import annotations

import pytest
import torch

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Assignment, Beat, Exchange, Segment
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.exchange.schedule import Read, Send, beat_traffic, readers, reads, sends
from polyrhythm_agent.exchange.shapes import MessageSizes
from tests.tiny_models.layers import geometry, token_layers

FAST, SLOW, IDLE = AgentId("fast"), AgentId("slow"), AgentId("idle")


def beat(begin: int, end: int, exchange: Exchange, *shares: tuple[AgentId, int, int, int]) -> Beat:
    """One beat of one segment; a share is agent, first row, row after the last, stride."""
    assignments = tuple(
        Assignment(agent=agent, rows=RowRange(begin=first, end=last), stride=stride)
        for agent, first, last, stride in shares
    )
    segment = Segment(
        begin_step=begin, end_step=end, beat_steps=end - begin, exchange=exchange, assignments=assignments
    )
    return Beat(begin_step=begin, end_step=end, segment=segment)


WARM_UP = beat(0, 2, Exchange.SYNCHRONOUS, (FAST, 0, 6, 1), (SLOW, 6, 8, 1))
BODY = beat(2, 6, Exchange.DISPLACED, (FAST, 0, 4, 1), (SLOW, 4, 8, 2))
TAIL = beat(6, 8, Exchange.DISPLACED, (FAST, 0, 6, 1), (SLOW, 6, 8, 1))


def seen(*pieces: tuple[int, int, AgentId, int]) -> list[tuple[RowRange, AgentId, int]]:
    return [(RowRange(begin=begin, end=end), source, version) for begin, end, source, version in pieces]


def view(found: tuple[Read, ...]) -> list[tuple[RowRange, AgentId, int]]:
    return [(read.rows, read.source, read.version) for read in found]


def test_a_synchronous_step_reads_itself_of_everybody() -> None:
    assert view(reads(WARM_UP, None, SLOW, 1)) == seen((0, 6, FAST, 1), (6, 8, SLOW, 1))


def test_the_first_displaced_step_reads_the_rows_as_they_were_held_before() -> None:
    assert view(reads(BODY, WARM_UP, FAST, 2)) == seen((0, 4, FAST, 2), (4, 6, FAST, 1), (6, 8, SLOW, 1))
    assert view(reads(BODY, WARM_UP, SLOW, 2)) == seen((0, 4, FAST, 1), (4, 8, SLOW, 2))


def test_later_displaced_steps_read_the_last_version_before_them() -> None:
    assert view(reads(BODY, WARM_UP, FAST, 3)) == seen((0, 4, FAST, 3), (4, 8, SLOW, 2))
    assert view(reads(BODY, WARM_UP, FAST, 5)) == seen((0, 4, FAST, 5), (4, 8, SLOW, 4))
    assert view(reads(BODY, WARM_UP, SLOW, 4)) == seen((0, 4, FAST, 3), (4, 8, SLOW, 4))


def test_a_version_that_nobody_reads_is_not_sent() -> None:
    assert sends(BODY, TAIL, FAST) == (
        Send(version=3, destinations=(SLOW,)),
        Send(version=5, destinations=(SLOW,)),  # read by the tail's first step
    )
    assert sends(BODY, None, FAST) == (Send(version=3, destinations=(SLOW,)),)
    assert sends(BODY, TAIL, SLOW) == tuple(Send(version=v, destinations=(FAST,)) for v in (2, 4))


def test_rows_that_are_given_away_are_kept_until_the_next_beat_has_read_them() -> None:
    assert readers(WARM_UP, BODY, FAST) == {(SLOW, 0): (0,), (SLOW, 1): (1, 2), (FAST, 1): (2,)}
    assert beat_traffic(None, WARM_UP, BODY, FAST).last_reads[FAST, 1] == 2


def test_receives_are_posted_for_as_long_as_the_own_step_lasts() -> None:
    assert beat_traffic(WARM_UP, BODY, TAIL, SLOW).receives == {FAST: {2: (3,), 4: (5,)}}
    assert beat_traffic(WARM_UP, BODY, TAIL, FAST).receives == {SLOW: {2: (2,), 3: (), 4: (4,), 5: ()}}


def test_a_member_without_rows_receives_only_what_its_next_beat_reads() -> None:
    without = beat(2, 4, Exchange.DISPLACED, (FAST, 0, 8, 1), (IDLE, 8, 8, 1))
    with_rows = beat(4, 6, Exchange.DISPLACED, (FAST, 0, 4, 1), (IDLE, 4, 8, 1))
    idle = beat_traffic(None, without, with_rows, IDLE)
    assert idle.reads == {}
    assert idle.receives == {FAST: {}}
    assert idle.late_receives == {FAST: (3,)}
    assert idle.boundary_sources == (FAST,)
    assert beat_traffic(None, without, None, IDLE).late_receives == {FAST: ()}
    assert beat_traffic(None, without, with_rows, FAST).boundary_sources == ()
    # the first step of the next beat still sees the rows that have just moved to it as they were, where it reads any
    assert view(reads(with_rows, without, FAST, 4)) == seen((0, 4, FAST, 4), (4, 8, FAST, 3))


def test_a_displaced_beat_at_the_start_of_an_epoch_is_refused() -> None:
    with pytest.raises(ValueError, match="before the epoch"):
        reads(BODY, None, FAST, 2)


def test_the_last_unit_of_an_image_may_be_short() -> None:
    picture = geometry(8, token_layers(2, columns=5, features=3, batch=1), height=15, width=5)
    sizes = MessageSizes(geometry=picture, activation_dtype=torch.float16, state_dtype=torch.float32)
    rest = RowRange(begin=0, end=6)
    assert sizes.boundary_bytes(RowRange(begin=6, end=8)) == 2 * 3 * 5 * 4
    assert sizes.boundary_bytes(rest) == 2 * 12 * 5 * 4
    assert sizes.boundary_bytes(RowRange(begin=8, end=8)) == 0
    assert sizes.version_bytes(RowRange(begin=6, end=8), rest) == 2 * (2 * 2 * 5 * 3 * 2)
