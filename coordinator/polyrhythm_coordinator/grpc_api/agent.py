"""AgentService: one bidirectional stream an agent, events up and commands down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import grpc.aio
import structlog

from polyrhythm.agent.v1 import session_pb2, session_pb2_grpc
from polyrhythm.codec.commands import AGENT_COMMAND
from polyrhythm.codec.events import AGENT_EVENT, events_of
from polyrhythm.errors import InternalError, PolyrhythmError, UnreachableError, WireError
from polyrhythm.ids import AgentId
from polyrhythm.session.events import Register
from polyrhythm_coordinator.grpc_api.status import abort_with
from polyrhythm_coordinator.grpc_api.streaming import write_all
from polyrhythm_coordinator.runtime.interpreter import Interpreter
from polyrhythm_coordinator.scheduling.state.events import SessionId

REGISTER_TIMEOUT_S = 5.0
"""An agent introduces itself at once; a stream that says nothing is closed."""

log = structlog.get_logger("polyrhythm.coordinator")


class AgentServicer(session_pb2_grpc.AgentServiceServicer):
    """Serves ``polyrhythm.agent.v1.AgentService``.

    Args:
        interpreter: takes what agents say.
        register_timeout_s: how long a stream may say nothing before its first message.
    """

    def __init__(self, interpreter: Interpreter, *, register_timeout_s: float = REGISTER_TIMEOUT_S) -> None:
        self._interpreter = interpreter
        self._register_timeout_s = register_timeout_s

    async def Session(
        self,
        request_iterator: AsyncIterator[session_pb2.SessionRequest],
        context: grpc.aio.ServicerContext[session_pb2.SessionRequest, session_pb2.SessionResponse],
    ) -> None:
        """One agent's stream, from its introduction to its end."""
        try:
            register = await _introduction(request_iterator, self._register_timeout_s)
            session, commands = self._interpreter.open_session(register)
            reader = asyncio.create_task(self._read(request_iterator, register.agent, session))
            reader.add_done_callback(partial(self._close, register.agent, session))
            try:
                await write_all(commands, lambda command: context.write(AGENT_COMMAND.to_proto(command)))
            finally:
                reader.cancel()
        except PolyrhythmError as error:
            await abort_with(context, error)

    async def _read(
        self, requests: AsyncIterator[session_pb2.SessionRequest], agent: AgentId, session: SessionId
    ) -> None:
        async for request in requests:
            for event in events_of(request):
                self._interpreter.receive(agent, session, AGENT_EVENT.from_proto(event))
                await asyncio.sleep(0)  # other streams have their turn between any two events

    def _close(self, agent: AgentId, session: SessionId, reader: asyncio.Task[None]) -> None:
        """Whatever ended the reading ends the session."""
        error = None if reader.cancelled() else reader.exception()
        match error:
            case None:
                self._interpreter.close_session(agent, session, "its stream ended", None)
            case PolyrhythmError():
                self._interpreter.close_session(agent, session, str(error), error)
            case _:
                log.error("an agent's event could not be handled", agent=agent, exc_info=error)
                bug = InternalError(f"{type(error).__name__}: {error}")
                self._interpreter.close_session(agent, session, str(bug), bug)


async def _introduction(requests: AsyncIterator[session_pb2.SessionRequest], timeout_s: float) -> Register:
    """The first message of a stream.

    Raises:
        UnreachableError: it does not come in time; what is slow now may be quick when it dials again.
        WireError: the stream ends without it, or it is something else.
    """
    try:
        request = await asyncio.wait_for(anext(requests), timeout_s)
    except TimeoutError as error:
        raise UnreachableError(f"session: no register message within {timeout_s:g} s") from error
    except StopAsyncIteration as error:
        raise WireError("session: ended without a register message") from error
    events = [AGENT_EVENT.from_proto(event) for event in request.events[:2]]
    match events:
        case [Register() as register]:
            return register
        case _:
            told = ", ".join(type(event).__name__ for event in events)
            raise WireError(f"session: begins with {told or 'nothing'}, not with register alone")
