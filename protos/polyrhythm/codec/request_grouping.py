"""Puts events that wait together into one message to the coordinator, as far as they fit. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from polyrhythm.agent.v1 import session_pb2
from polyrhythm.codec.bounds import EVENTS_MAX
from polyrhythm.codec.events import AGENT_EVENT
from polyrhythm.session.events import AgentEvent


def grouped_requests(events: Iterable[AgentEvent], limit_bytes: int) -> Iterator[session_pb2.SessionRequest]:
    """Makes the messages that carry these events, in order.

    Args:
        events: all that wait.
        limit_bytes: encoded size that a message of several events does not exceed; a larger event goes alone.
            There are no more than ``EVENTS_MAX`` in one.

    Yields:
        Each message when it is complete.
    """
    request, size_bytes = session_pb2.SessionRequest(), 0
    for event in events:
        single = session_pb2.SessionRequest(events=[AGENT_EVENT.to_proto(event)])
        single_bytes = single.ByteSize()
        # Messages of nothing but a repeated field: the size of the merged one is the sum of theirs.
        if request.events and (size_bytes + single_bytes > limit_bytes or len(request.events) == EVENTS_MAX):
            yield request
            request, size_bytes = session_pb2.SessionRequest(), 0
        request.MergeFrom(single)
        size_bytes += single_bytes
    if request.events:
        yield request
