"""A coordinator's agent service that a test plays by hand: it sees each session's events and says each command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import grpc.aio

from polyrhythm.agent.v1 import session_pb2, session_pb2_grpc
from polyrhythm.codec.commands import AGENT_COMMAND
from polyrhythm.codec.events import AGENT_EVENT
from polyrhythm.session.commands import AgentCommand, Welcome
from polyrhythm.session.events import AgentEvent, Heartbeat, Register

HEARTBEAT_INTERVAL_S = 0.02
WAIT_S = 20.0
Kind = TypeVar("Kind", bound=AgentEvent)
Status: TypeAlias = tuple[grpc.StatusCode, str]


@dataclass(slots=True)
class Session:
    """One stream of an agent."""

    events: asyncio.Queue[AgentEvent] = field(default_factory=asyncio.Queue)
    heartbeats: asyncio.Queue[Heartbeat] = field(default_factory=asyncio.Queue)
    commands: asyncio.Queue[AgentCommand | Status | None] = field(default_factory=asyncio.Queue)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, *commands: AgentCommand) -> None:
        for command in commands:
            self.commands.put_nowait(command)

    def close(self) -> None:
        self.commands.put_nowait(None)

    def break_off(self, code: grpc.StatusCode, details: str) -> None:
        """Ends the session with an error."""
        self.commands.put_nowait((code, details))

    async def hear(self, kind: type[Kind]) -> Kind:
        """The next event, which must be of that kind; heartbeats are kept apart."""
        event = await asyncio.wait_for(self.events.get(), WAIT_S)
        assert isinstance(event, kind), event
        return event


class FakeAgentService(session_pb2_grpc.AgentServiceServicer):
    """Serves sessions; ``refusal`` makes it refuse them all."""

    def __init__(self) -> None:
        self.sessions: asyncio.Queue[Session] = asyncio.Queue()
        self.refused: asyncio.Queue[Register] = asyncio.Queue()
        self.refusal: Status | None = None

    async def Session(
        self, request_iterator: AsyncIterator[session_pb2.SessionRequest], context: grpc.aio.ServicerContext
    ) -> None:
        (first,) = map(AGENT_EVENT.from_proto, (await anext(request_iterator)).events)
        assert isinstance(first, Register)
        if self.refusal is not None:
            self.refused.put_nowait(first)
            await context.abort(*self.refusal)
        session = Session()
        session.events.put_nowait(first)
        await context.write(AGENT_COMMAND.to_proto(Welcome(incarnation=1, heartbeat_interval_s=HEARTBEAT_INTERVAL_S)))
        self.sessions.put_nowait(session)
        reading = asyncio.create_task(self._read(request_iterator, session))
        try:
            while (command := await session.commands.get()) is not None:
                if isinstance(command, tuple):
                    await context.abort(*command)
                await context.write(AGENT_COMMAND.to_proto(command))
        finally:
            reading.cancel()
            session.ended.set()

    async def _read(self, requests: AsyncIterator[session_pb2.SessionRequest], session: Session) -> None:
        async for request in requests:
            for event in map(AGENT_EVENT.from_proto, request.events):
                if isinstance(event, Heartbeat):
                    session.heartbeats.put_nowait(event)
                else:
                    session.events.put_nowait(event)

    async def next_session(self) -> Session:
        return await asyncio.wait_for(self.sessions.get(), WAIT_S)


@asynccontextmanager
async def serving(service: FakeAgentService, port: int = 0) -> AsyncIterator[int]:
    """Serves on loopback; gives the port."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    session_pb2_grpc.add_AgentServiceServicer_to_server(service, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)
