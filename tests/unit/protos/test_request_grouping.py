"""Events that travel together: in order, none lost, and never more than a message may hold."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from polyrhythm.agent.v1 import session_pb2
from polyrhythm.codec.events import AGENT_EVENT
from polyrhythm.codec.request_grouping import grouped_requests
from polyrhythm.session.events import AgentEvent, WorkerLost

LIMIT_BYTES = 200


def lost(size: int) -> WorkerLost:
    return WorkerLost(reason="x" * size)


def events_in(requests: list[session_pb2.SessionRequest]) -> list[AgentEvent]:
    return [AGENT_EVENT.from_proto(event) for request in requests for event in request.events]


@given(st.lists(st.integers(0, 2 * LIMIT_BYTES)))
def test_all_travel_in_order_and_only_a_large_one_alone_exceeds_the_limit(sizes: list[int]) -> None:
    events = [lost(size) for size in sizes]
    requests = list(grouped_requests(events, LIMIT_BYTES))
    assert events_in(requests) == events
    for request in requests:
        assert len(request.SerializeToString()) <= LIMIT_BYTES or len(request.events) == 1


def test_what_fits_travels_together() -> None:
    size_bytes = sum(request.ByteSize() for request in grouped_requests([lost(3)] * 10, LIMIT_BYTES))
    (whole,) = grouped_requests([lost(3)] * 10, size_bytes)
    assert len(whole.events) == 10
    assert [len(request.events) for request in grouped_requests([lost(3)] * 10, size_bytes - 1)] == [9, 1]


def test_a_large_event_waits_for_nobody_and_nobody_goes_with_it() -> None:
    events = [lost(1), lost(2 * LIMIT_BYTES), lost(1), lost(1)]
    assert [len(request.events) for request in grouped_requests(events, LIMIT_BYTES)] == [1, 1, 2]


def test_nothing_makes_no_message() -> None:
    assert list(grouped_requests([], LIMIT_BYTES)) == []
