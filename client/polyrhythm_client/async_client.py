"""The SDK for programs that run an event loop: pictures from a coordinator."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Self

from polyrhythm.errors import InternalError, InvalidArgumentError
from polyrhythm.fleet import AgentView
from polyrhythm.job.events import JobEvent
from polyrhythm.job.image import ImageRequest
from polyrhythm.plan.explanation import Explanation
from polyrhythm.process.address import require_address
from polyrhythm_client.address import DEFAULT_ADDRESS
from polyrhythm_client.connection import Connection
from polyrhythm_client.forked import FIRST_CHANNEL
from polyrhythm_client.pictures import Picture, PictureAssembler

JOB_DEADLINE_S = 3600.0
QUERY_DEADLINE_S = 120.0


class AsyncClient:
    """A connection to one coordinator, with calls to be awaited.

    Traffic is plaintext: use it on loopback or on a network that you trust.

    Example::

        async with AsyncClient("127.0.0.1:50051") as client:
            picture = await client.picture(ImageRequest(prompt="red apple on a blue background"))
        picture.save("apple.png")

    Args:
        address: ``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:/PATH`` of the coordinator.
        job_deadline_s: longest time a job may take, waiting in the queue included.
        query_deadline_s: longest time any other answer may take. A plan for a size that the fleet has not seen yet
            takes a few seconds, because it is measured first.

    Raises:
        InvalidArgumentError: the address is none.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        job_deadline_s: float = JOB_DEADLINE_S,
        query_deadline_s: float = QUERY_DEADLINE_S,
    ) -> None:
        require_address(address)
        self.address = address
        self._job_deadline_s = job_deadline_s
        self._query_deadline_s = query_deadline_s
        self._open_connection: Connection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def generate(self, request: ImageRequest) -> AsyncGenerator[JobEvent | Picture]:
        """Makes one or several pictures: yields what happens on the way, and each picture as soon as it is done.

        Leaving the iteration before its end cancels the job; use ``contextlib.aclosing`` to leave at once.

        Example::

            async with aclosing(client.generate(request)) as events:
                async for event in events:
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
        connection, assembler, made = self._connection(), PictureAssembler(), 0
        async with aclosing(connection.generate(request, self._job_deadline_s)) as events:
            async for event in events:
                yield event
                picture = assembler.take(event)
                if picture is not None:
                    made += 1
                    yield picture
        if made != request.count:
            raise InternalError(f"the job ended after {made} of {request.count} pictures")

    async def pictures(
        self, request: ImageRequest, on_event: Callable[[JobEvent], None] | None = None
    ) -> tuple[Picture, ...]:
        """Makes all pictures of a request.

        Args:
            request: what to make.
            on_event: called with everything that happens on the way.

        Returns:
            The pictures in the order in which they were done.

        Raises:
            PolyrhythmError: as ``generate``.
        """
        made: list[Picture] = []
        async with aclosing(self.generate(request)) as events:
            async for event in events:
                if isinstance(event, Picture):
                    made.append(event)
                elif on_event is not None:
                    on_event(event)
        return tuple(made)

    async def picture(self, request: ImageRequest, on_event: Callable[[JobEvent], None] | None = None) -> Picture:
        """Makes one picture.

        Args:
            request: what to make, with a count of 1.
            on_event: called with everything that happens on the way.

        Raises:
            PolyrhythmError: as ``generate``; or the request asks for several.
        """
        if request.count != 1:
            raise InvalidArgumentError.of("image.count", f"picture() makes one, got {request.count}; use pictures()")
        return (await self.pictures(request, on_event))[0]

    async def explain(self, request: ImageRequest) -> Explanation:
        """Says how a request would be run and what it was compared with, without running it.

        Raises:
            PolyrhythmError: as ``generate``.
        """
        return await self._connection().explain(request, self._query_deadline_s)

    async def agents(self) -> tuple[AgentView, ...]:
        """Lists the connected agents, sorted by name.

        Raises:
            PolyrhythmError: the coordinator cannot be reached.
        """
        return await self._connection().agents(self._query_deadline_s)

    async def drain(self, agent: str, *, undo: bool = False) -> AgentView | None:
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
        return await self._connection().drain(agent, self._query_deadline_s, undo=undo)

    async def close(self) -> None:
        """Closes the connection; jobs under way are cancelled."""
        if self._open_connection is not None:
            FIRST_CHANNEL.check()
            await self._open_connection.close()
            self._open_connection = None

    def _connection(self) -> Connection:
        # Opened here and not in the constructor: a channel belongs to the event loop that it was opened in.
        FIRST_CHANNEL.check()
        if self._open_connection is None:
            self._open_connection = Connection(self.address)
        return self._open_connection
