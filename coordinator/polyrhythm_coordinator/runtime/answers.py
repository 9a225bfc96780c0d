"""Effects that take their time, and the events that answer them. Owns what is under way, decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from polyrhythm.errors import InternalError, PolyrhythmError
from polyrhythm_coordinator.scheduling.state.events import Event

T = TypeVar("T")


class Answers:
    """All that is under way.

    Args:
        feed: takes the events.
    """

    def __init__(self, feed: Callable[[Event], object]) -> None:
        self._feed = feed
        self._asked: set[asyncio.Future[Any]] = set()

    def ask(
        self, who: str, asked: Awaitable[T], answer: Callable[[T], Event], failure: Callable[[PolyrhythmError], Event]
    ) -> None:
        """Feeds an answer, or a failure, once it is known.

        Args:
            who: is asked, for a failure that is a bug.
            asked: what is under way.
            answer: the event for a result.
            failure: the event for an error.
        """
        future = asyncio.ensure_future(asked)
        self._asked.add(future)
        future.add_done_callback(partial(self._take, who, answer, failure))

    def _take(
        self,
        who: str,
        answer: Callable[[T], Event],
        failure: Callable[[PolyrhythmError], Event],
        future: asyncio.Future[T],
    ) -> None:
        self._asked.discard(future)
        if future.cancelled():
            return
        match future.exception():
            case None:
                self._feed(answer(future.result()))
            case PolyrhythmError() as error:
                self._feed(failure(error))
            case error:
                bug = InternalError(f"{who} failed: {type(error).__name__}: {error}")
                bug.__cause__ = error
                self._feed(failure(bug))
