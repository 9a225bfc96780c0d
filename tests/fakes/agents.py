"""Fake agents over real gRPC: the agent protocol of ``FakeWorker`` on a stream, with heartbeats, without a model.

For tests of whatever talks to a coordinator. A fleet shares one fabric; its agents can vanish, hang, pause and go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc.aio

from polyrhythm.agent.v1 import session_pb2, session_pb2_grpc
from polyrhythm.codec.commands import AGENT_COMMAND
from polyrhythm.codec.events import AGENT_EVENT
from polyrhythm.codec.status import DETAILS_KEY, error_from_status
from polyrhythm.errors import PolyrhythmError
from polyrhythm.ids import AgentId
from polyrhythm.session.commands import AgentCommand, Welcome
from polyrhythm.session.events import AgentEvent, Heartbeat, Register
from tests.fakes.fabric import FakeFabric
from tests.fakes.worker import FakeWorker, register


def error_of(call_error: grpc.aio.AioRpcError) -> PolyrhythmError:
    """The typed error that a call ended with."""
    details = dict(call_error.trailing_metadata() or ()).get(DETAILS_KEY)
    assert details is None or isinstance(details, bytes)
    return error_from_status(call_error.code(), call_error.details() or "", details)


class FakeFleet:
    """Fake agents that can form gangs with one another."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.fabric = FakeFabric()
        self.agents: dict[str, FakeAgent] = {}

    async def add(self, name: str, *, per_row_s: float = 0.01, ready: bool = True) -> FakeAgent:
        """Connects an agent; returns once it is welcomed."""
        worker = FakeWorker(AgentId(name), self.fabric, per_row_s=per_row_s)
        agent = self.agents[name] = FakeAgent(self, worker)
        await agent.connect()
        if ready:
            agent.load()
        return agent

    def pause_at(self, step: int | None) -> None:
        """All agents stop at a step, or go on."""
        for agent in self.agents.values():
            agent.worker.pause_at = step
        self.wake()

    def wake(self) -> None:
        """Something has changed that somebody may have waited for."""
        for agent in self.agents.values():
            agent.wake.set()

    async def close(self) -> None:
        """Ends all agents."""
        for agent in self.agents.values():
            await agent.close()


class FakeAgent:
    """One agent.

    Attributes:
        worker: what it would run in a process of its own.
        wake: set when there may be something to do.
        ended: set when its stream is over.
        error: how the coordinator ended the stream; None if it did not.
    """

    def __init__(self, fleet: FakeFleet, worker: FakeWorker) -> None:
        self.worker = worker
        self.wake = asyncio.Event()
        self.ended = asyncio.Event()
        self.error: PolyrhythmError | None = None
        self._fleet = fleet
        self._events: asyncio.Queue[AgentEvent] = asyncio.Queue()
        self._channel = grpc.aio.insecure_channel(fleet.address)
        self._welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._silent = False
        self._heard = asyncio.Event()

    async def connect(self, introduction: Register | None = None) -> None:
        """Opens the stream.

        Raises:
            PolyrhythmError: the coordinator refuses it.
        """
        self._events.put_nowait(introduction or register(self.worker.agent))
        stub = session_pb2_grpc.AgentServiceStub(self._channel)
        stream = stub.Session(self._requests())
        self._tasks = tuple(map(asyncio.create_task, (self._read(stream), self._work())))
        await asyncio.wait((self._welcome, self._tasks[0]), return_when=asyncio.FIRST_COMPLETED)
        if self.error is not None:
            raise self.error
        self._tasks = (*self._tasks, asyncio.create_task(self._beat((await self._welcome).heartbeat_interval_s)))

    def load(self) -> None:
        """Its worker has loaded."""
        self.say(self.worker.ready())

    def say(self, event: AgentEvent) -> None:
        """Sends an event."""
        if not self._silent:
            self._events.put_nowait(event)

    async def has_seen(self, kind: type[AgentCommand], *, times: int = 1) -> None:
        """Returns once it has been sent so many commands of a kind."""
        while sum(isinstance(command, kind) for command in self.worker.seen) < times:
            self._heard.clear()
            await self._heard.wait()

    def hang(self) -> None:
        """Stops everything but the connection, as SIGSTOP would."""
        self._silent = True
        self.worker.hung = True

    async def vanish(self) -> None:
        """Dies without a word; its peers see closed connections."""
        await self.close()
        self._fleet.fabric.break_off(self.worker.agent)
        self._fleet.wake()

    async def close(self) -> None:
        """Ends the stream and everything that works for it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close()

    async def _requests(self) -> AsyncIterator[session_pb2.SessionRequest]:
        while True:
            yield session_pb2.SessionRequest(events=[AGENT_EVENT.to_proto(await self._events.get())])

    async def _read(self, stream: AsyncIterator[session_pb2.SessionResponse]) -> None:
        try:
            async for response in stream:
                command = AGENT_COMMAND.from_proto(response)
                if isinstance(command, Welcome):
                    self._welcome.set_result(command)
                self._say_all(self.worker.handle(command))
                self._heard.set()
                self._fleet.wake()
        except grpc.aio.AioRpcError as error:
            self.error = error_of(error)
        finally:
            self.ended.set()

    async def _work(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            moves = self.worker.moves
            self._say_all(self.worker.work())
            if self.worker.moves != moves:
                self._fleet.wake()
            await asyncio.sleep(0)

    async def _beat(self, interval_s: float) -> None:
        sequence = 0
        while not self.ended.is_set():
            self.say(Heartbeat(sequence=sequence))
            sequence += 1
            try:
                await asyncio.wait_for(self.ended.wait(), interval_s)
            except TimeoutError:
                continue

    def _say_all(self, events: Iterable[AgentEvent]) -> None:
        for event in events:
            self.say(event)
