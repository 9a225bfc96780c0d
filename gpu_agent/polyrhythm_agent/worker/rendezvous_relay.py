"""Rendezvous over the worker's channel: operations of a gang's store go up as events, answers come down as commands."""

from __future__ import annotations

import threading
from collections.abc import Callable

from polyrhythm.ids import GangId
from polyrhythm.session.events import AgentEvent
from polyrhythm.session.rendezvous import StoreOperation, StoreReply, StoreRequest
from polyrhythm_agent.errors import EpochAbortedError


class RendezvousRelay:
    """Blocking store operations; shared by the compute thread, Gloo's threads and the channel's thread."""

    def __init__(self, *, send: Callable[[AgentEvent], None]) -> None:
        self._send = send
        self._changed = threading.Condition()
        self._next_request_id = 1
        self._waiting: set[int] = set()
        self._replies: dict[int, StoreReply] = {}
        self._abort_reason: str | None = None

    def call(self, gang: GangId, operation: StoreOperation, key: str, value: bytes, amount: int) -> tuple[bytes, bool]:
        """One operation; a GET blocks until the key exists.

        Raises:
            EpochAbortedError: the epoch ended while waiting, or the gang was given up.
        """
        with self._changed:
            request_id = self._next_request_id
            self._next_request_id += 1
            self._waiting.add(request_id)
        self._send(
            StoreRequest(gang=gang, request_id=request_id, operation=operation, key=key, value=value, amount=amount)
        )
        with self._changed:
            self._changed.wait_for(lambda: request_id in self._replies or self._abort_reason is not None)
            self._waiting.discard(request_id)
            reply = self._replies.pop(request_id, None)
            if reply is None:
                raise EpochAbortedError(self._abort_reason or "aborted")
            if operation is StoreOperation.GET and not reply.found:
                raise EpochAbortedError(f"the coordinator has given up gang {gang}")
            return reply.value, reply.found

    def answer(self, reply: StoreReply) -> None:
        """Called from the channel's thread; answers that nobody waits for any more are dropped."""
        with self._changed:
            if reply.request_id in self._waiting:
                self._replies[reply.request_id] = reply
                self._changed.notify_all()

    def open(self) -> None:
        """A new epoch begins: operations may block again."""
        with self._changed:
            self._abort_reason = None

    def abort(self, reason: str) -> None:
        """Wakes every blocked operation."""
        with self._changed:
            self._abort_reason = reason
            self._changed.notify_all()
