"""The SDK: pictures from a coordinator, by plain calls that return when they are done."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Self, TypeVar

from polyrhythm.fleet import AgentView
from polyrhythm.job.events import JobEvent
from polyrhythm.job.image import ImageRequest
from polyrhythm.plan.explanation import Explanation
from polyrhythm_client.address import DEFAULT_ADDRESS
from polyrhythm_client.async_client import JOB_DEADLINE_S, QUERY_DEADLINE_S, AsyncClient
from polyrhythm_client.forked import FIRST_CHANNEL
from polyrhythm_client.pictures import Picture

T = TypeVar("T")


class Client:
    """A connection to one coordinator; ``AsyncClient`` has the same calls for programs that run an event loop.

    A thread of its own runs the connection, so that keep-alive goes on while the caller does something else. Use it in
    a ``with`` block, or call ``close`` at the end. It does not outlive a fork: every call in a child process raises
    ForkedError. Traffic is plaintext: use it on loopback or on a network that you trust.

    Example::

        with Client("127.0.0.1:50051") as client:
            picture = client.picture(ImageRequest(prompt="red apple on a blue background"))
        picture.save("apple.png")

    Args:
        address: ``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:/PATH`` of the coordinator.
        job_deadline_s: longest time a job may take, waiting in the queue included.
        query_deadline_s: longest time any other answer may take. A plan for a size that the fleet has not seen yet
            takes a few seconds, because it is measured first.

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
        self._client = AsyncClient(address, job_deadline_s=job_deadline_s, query_deadline_s=query_deadline_s)
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

    def generate(self, request: ImageRequest) -> Generator[JobEvent | Picture]:
        """Makes one or several pictures: yields what happens on the way, and each picture as soon as it is done.

        Closing the iterator before its end cancels the job.

        Example::

            for event in client.generate(request):
                match event:
                    case Progressed():
                        print(f"step {event.step} of {event.steps}, {event.left_s:.1f} s left")
                    case Picture():
                        event.save(f"{event.report.image_index}.png")

        Args:
            request: what to make.

        Yields:
            Events in the order in which they happened; a picture follows its ``ImageCompleted``.

        Raises:
            InvalidArgumentError: names every field that is wrong.
            PolyrhythmError: the coordinator cannot be reached, no agent is left, or the deadline has passed.
        """
        events = self._client.generate(request)  # opens the channel by its first step, on the client's thread
        try:
            while (event := self._run(_next(events))) is not None:
                yield event
        finally:
            if not self._is_gone():
                self._run(_close(events))

    def pictures(
        self, request: ImageRequest, on_event: Callable[[JobEvent], None] | None = None
    ) -> tuple[Picture, ...]:
        """Makes all pictures of a request.

        Args:
            request: what to make.
            on_event: called with everything that happens on the way, on the client's own thread.

        Returns:
            The pictures in the order in which they were done.

        Raises:
            PolyrhythmError: as ``generate``.
        """
        return self._run(self._client.pictures(request, on_event))

    def picture(self, request: ImageRequest, on_event: Callable[[JobEvent], None] | None = None) -> Picture:
        """Makes one picture.

        Args:
            request: what to make, with a count of 1.
            on_event: called with everything that happens on the way, on the client's own thread.

        Raises:
            PolyrhythmError: as ``generate``; or the request asks for several.
        """
        return self._run(self._client.picture(request, on_event))

    def explain(self, request: ImageRequest) -> Explanation:
        """Says how a request would be run and what it was compared with, without running it.

        Raises:
            PolyrhythmError: as ``generate``.
        """
        return self._run(self._client.explain(request))

    def agents(self) -> tuple[AgentView, ...]:
        """Lists the connected agents, sorted by name.

        Raises:
            PolyrhythmError: the coordinator cannot be reached.
        """
        return self._run(self._client.agents())

    def drain(self, agent: str, *, undo: bool = False) -> AgentView | None:
        """Takes an agent out of service: it starts no work, and gives up its rows of a picture that is running.

        It stays so, however often it reconnects, until it is put back or the coordinator ends.

        Args:
            agent: its name.
            undo: put it back instead.

        Returns:
            Its state now; None if it is not connected.

        Raises:
            NotFoundError: no agent of that name is connected or drained.
            PolyrhythmError: the coordinator cannot be reached.
        """
        return self._run(self._client.drain(agent, undo=undo))

    def _is_gone(self) -> bool:
        """Whether there is nothing to end any more."""
        return self._loop.is_closed() or FIRST_CHANNEL.is_elsewhere()

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            FIRST_CHANNEL.check()
            if self._loop.is_closed():
                raise RuntimeError("this client is closed")
        except RuntimeError:
            call.close()
            raise
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        finally:
            # Ctrl-C lands in the caller's thread: the call must not go on without it.
            future.cancel()


async def _next(events: AsyncGenerator[JobEvent | Picture]) -> JobEvent | Picture | None:
    return await anext(events, None)


async def _close(events: AsyncGenerator[JobEvent | Picture]) -> None:
    await events.aclose()
