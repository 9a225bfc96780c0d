"""The SDK for programs without an event loop: the same calls, blocking."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar

from polyrhythm.fleet import AgentView
from polyrhythm.job.events import JobEvent
from polyrhythm.job.image import ImageRequest
from polyrhythm.plan.explanation import Explanation
from polyrhythm_client.address import DEFAULT_ADDRESS
from polyrhythm_client.client import JOB_DEADLINE_S, QUERY_DEADLINE_S, Client
from polyrhythm_client.forked import FIRST_CHANNEL
from polyrhythm_client.pictures import Picture

T = TypeVar("T")


class SyncClient:
    """A connection to one coordinator, with blocking calls.

    A thread of its own runs the event loop, so that keep-alive goes on while the caller thinks. Use it in a ``with``
    block, or call ``close`` at the end. It does not outlive a fork: every call in a child process raises ForkedError.

    Example::

        with SyncClient() as client:
            picture = client.picture(ImageRequest(prompt="red apple on a blue background"))

    Args:
        address: as for Client.
        job_deadline_s: as for Client.
        query_deadline_s: as for Client.

    Raises:
        InvalidArgumentError: the address is none.
        ForkedError: this process was forked from one that had opened a client.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        job_deadline_s: float = JOB_DEADLINE_S,
        query_deadline_s: float = QUERY_DEADLINE_S,
    ) -> None:
        FIRST_CHANNEL.check()
        self._client = Client(address, job_deadline_s=job_deadline_s, query_deadline_s=query_deadline_s)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="polyrhythm-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection and ends the thread; jobs under way are cancelled. May be called again.

        In a process that was forked meanwhile there is nothing to close.
        """
        if self._is_gone():
            return
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def generate(self, request: ImageRequest) -> Generator[JobEvent]:
        """Makes pictures and tells what happens on the way; closing the iterator early cancels the job.

        Raises:
            PolyrhythmError: as ``Client.generate``.
        """
        events = self._client_events(request)
        try:
            while (event := self._run(_next(events))) is not None:
                yield event
        finally:
            if not self._is_gone():
                self._run(_close(events))

    def pictures(
        self, request: ImageRequest, on_event: Callable[[JobEvent], None] | None = None
    ) -> tuple[Picture, ...]:
        """Makes all pictures of a request; ``on_event`` is called on the client's own thread.

        Raises:
            PolyrhythmError: as ``Client.generate``.
        """
        return self._run(self._client.pictures(request, on_event))

    def picture(self, request: ImageRequest, on_event: Callable[[JobEvent], None] | None = None) -> Picture:
        """Makes one picture; ``on_event`` is called on the client's own thread.

        Raises:
            PolyrhythmError: as ``Client.generate``.
        """
        return self._run(self._client.picture(request, on_event))

    def explain(self, request: ImageRequest) -> Explanation:
        """Says how a request would be run, without running it.

        Raises:
            PolyrhythmError: as ``Client.generate``.
        """
        return self._run(self._client.explain(request))

    def agents(self) -> tuple[AgentView, ...]:
        """Lists the connected agents, sorted by name.

        Raises:
            PolyrhythmError: the coordinator cannot be reached.
        """
        return self._run(self._client.agents())

    def drain(self, agent: str, *, undo: bool = False) -> AgentView | None:
        """Takes an agent out of service, or puts it back.

        Raises:
            PolyrhythmError: as ``Client.drain``.
        """
        return self._run(self._client.drain(agent, undo=undo))

    async def _client_events(self, request: ImageRequest) -> AsyncGenerator[JobEvent]:
        # The channel is opened by the first step, which runs on the client's thread.
        async with aclosing(self._client.generate(request)) as events:
            async for event in events:
                yield event

    def _is_gone(self) -> bool:
        """Whether there is nothing to end any more."""
        return self._loop.is_closed() or FIRST_CHANNEL.is_elsewhere()

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            FIRST_CHANNEL.check()
            if self._loop.is_closed():
                raise RuntimeError("this SyncClient is closed")
        except RuntimeError:
            call.close()
            raise
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        finally:
            # Ctrl-C lands in the caller's thread: the call must not go on without it.
            future.cancel()


async def _next(events: AsyncGenerator[JobEvent]) -> JobEvent | None:
    return await anext(events, None)


async def _close(events: AsyncGenerator[JobEvent]) -> None:
    await events.aclose()
