"""The session with the coordinator: always dialled from here, registered first, kept alive, dialled again when lost.

Owns the gRPC stream and its retries. What events and commands mean is decided in ``rules``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import structlog

from polyrhythm.agent.v1 import session_pb2, session_pb2_grpc
from polyrhythm.codec.bounds import ANSWER_BYTES_MAX, REQUEST_BYTES_MAX
from polyrhythm.codec.commands import AGENT_COMMAND
from polyrhythm.codec.events import AGENT_EVENT
from polyrhythm.codec.request_grouping import grouped_requests
from polyrhythm.errors import UnreachableError, WireError
from polyrhythm.process.address import CHANNEL_OPTIONS
from polyrhythm.session.commands import Welcome
from polyrhythm.session.events import AgentEvent, Heartbeat, Register
from polyrhythm_agent.daemon.backoff import doubling_delay_s, jittered_delay_s
from polyrhythm_agent.daemon.rules.signals import (
    CommandReceived,
    CoordinatorConnected,
    CoordinatorLost,
    OversightEvent,
)
from polyrhythm_agent.errors import RegistrationRefusedError

log = structlog.get_logger()

_GROUP_BYTES_MAX = REQUEST_BYTES_MAX // 2
"""Of events that go together. Far below the limit of a message, which breaks the stream: a picture that waits whole
must not go whole."""
REFUSALS = frozenset(
    {
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""Answers to a registration that another attempt would not change. The same codes in a session that was welcomed are
about one message of it, and the next session may do without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTiming:
    """How patient a link is.

    Attributes:
        welcome_s: for an answer to the registration.
        first_retry_s: delay of the first attempt after a session or after the very first attempt; then it doubles.
        longest_retry_s: bound of that delay.
        linger_s: how long a coordinator may take to notice that a session of this agent has ended; until then it
            calls the agent's own name taken.
        ping_s: how long nothing may come from the coordinator before it is asked for a sign of life.
        pong_s: how long it may take to give one; then the session is lost.
    """

    welcome_s: float = 10.0
    first_retry_s: float = 0.1
    longest_retry_s: float = 5.0
    linger_s: float = 30.0
    ping_s: float = 10.0
    pong_s: float = 5.0

    def channel_options(self) -> tuple[tuple[str, int], ...]:
        """What gRPC is told of it, and of the size of messages."""
        return (
            *CHANNEL_OPTIONS,
            ("grpc.max_send_message_length", REQUEST_BYTES_MAX),
            ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
            # A machine that vanished without a word is noticed by pings that nobody answers.
            ("grpc.keepalive_time_ms", round(1000 * self.ping_s)),
            ("grpc.keepalive_timeout_ms", round(1000 * self.pong_s)),
            # The keepalive's own limit does not bound that wait: every ping has one of its own, 60 s unless it is set.
            ("grpc.http2.ping_timeout_ms", round(1000 * self.pong_s)),
            ("grpc.http2.max_pings_without_data", 0),
            # Each attempt dials anew, without the delays that gRPC remembers from the one before: the delays are ours.
            ("grpc.use_local_subchannel_pool", 1),
        )


class CoordinatorLink:
    """One agent's link. ``run`` once; ``send`` at any time from the event loop."""

    def __init__(
        self,
        *,
        address: str,
        registration: Register,
        handle: Callable[[OversightEvent], None],
        chance: Callable[[], float],
        timing: LinkTiming,
        connect_timeout_s: float | None,
    ) -> None:
        """Makes a link that is not connected.

        Args:
            address: ``HOST:PORT`` or ``unix:/PATH`` of the coordinator.
            registration: first message of each session.
            handle: is told of the session's beginning and end, and of each command in between.
            chance: random numbers in ``[0, 1)``, for the delays.
            timing: delays and limits.
            connect_timeout_s: how long to try before the first session; None for ever.
        """
        self._address = address
        self._registration = registration
        self._handle = handle
        self._chance = chance
        self._timing = timing
        self._connect_timeout_s = connect_timeout_s
        self._outgoing: asyncio.Queue[AgentEvent] | None = None
        self._session_end_s: float | None = None
        self._spoken_s = 0.0
        self._welcomed = False

    def send(self, event: AgentEvent) -> None:
        """Sends an event in this session; without one it is dropped."""
        if self._outgoing is not None:
            self._outgoing.put_nowait(event)

    async def run(self) -> None:
        """Keeps a session for ever.

        Raises:
            RegistrationRefusedError: the coordinator does not want this agent.
            UnreachableError: no coordinator answered within the connect timeout.
        """
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        attempts = 0
        while True:
            sessions_before = self._session_end_s
            reason = await self._attempt()
            attempts = 1 if self._session_end_s != sessions_before else attempts + 1
            delay_s = doubling_delay_s(
                attempts, first_s=self._timing.first_retry_s, longest_s=self._timing.longest_retry_s
            )
            delay_s = jittered_delay_s(delay_s, self._chance())
            if attempts.bit_count() == 1:  # the 1st, 2nd, 4th, 8th, ...: a log is no place to wait in
                log.warning("no coordinator", address=self._address, attempt=attempts, reason=reason)
            self._check_patience(loop.time() + delay_s - begin_s, reason)
            await asyncio.sleep(delay_s)

    def _check_patience(self, elapsed_s: float, reason: str) -> None:
        limit_s = self._connect_timeout_s
        if self._session_end_s is None and limit_s is not None and elapsed_s > limit_s:
            raise UnreachableError(f"--coordinator: {self._address} did not answer within {limit_s:g} s: {reason}")

    async def _attempt(self) -> str:
        """One session, from dialling to its end; returns why it ended."""
        self._welcomed = False
        try:
            async with grpc.aio.insecure_channel(self._address, options=self._timing.channel_options()) as channel:
                return await self._session(session_pb2_grpc.AgentServiceStub(channel).Session())
        except grpc.aio.AioRpcError as error:
            if not self._welcomed:
                self._check_refusal(error)
            return f"{error.code().name}: {error.details()}"
        except asyncio.CancelledError:
            # gRPC raises it as well when the other side cancels, which is no wish to end this task.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return "the coordinator cancelled the session"
        except asyncio.InvalidStateError:
            return "the session ended while it was written to"
        except TimeoutError:
            return f"no answer to the registration within {self._timing.welcome_s:g} s"
        except WireError as error:
            return f"the coordinator sent nonsense: {error}"

    def _check_refusal(self, error: grpc.aio.AioRpcError) -> None:
        if error.code() not in REFUSALS:
            return
        if error.code() is grpc.StatusCode.ALREADY_EXISTS and self._session_may_linger():
            return
        raise RegistrationRefusedError(
            f"the coordinator at {self._address} does not take agent {self._registration.agent!r}: {error.details()}"
        )

    def _session_may_linger(self) -> bool:
        """Whether the coordinator may not have noticed yet that the last session of this very agent has ended."""
        now_s = asyncio.get_running_loop().time()
        return self._session_end_s is not None and now_s - self._session_end_s < self._timing.linger_s

    async def _session(self, call: grpc.aio.StreamStreamCall) -> str:
        async with asyncio.timeout(self._timing.welcome_s):
            await call.write(session_pb2.SessionRequest(events=[AGENT_EVENT.to_proto(self._registration)]))
            first = await call.read()
        if not isinstance(first, session_pb2.SessionResponse):
            return "the coordinator closed the session at once"
        welcome = AGENT_COMMAND.from_proto(first)
        if not isinstance(welcome, Welcome):
            raise WireError(f"the first command must be Welcome, not {type(welcome).__name__}")
        self._welcomed = True
        self._outgoing = asyncio.Queue()
        speaking = [
            asyncio.create_task(self._write(call, self._outgoing)),
            asyncio.create_task(self._beat(self._outgoing, welcome.heartbeat_interval_s)),
        ]
        log.info("connected", address=self._address, incarnation=welcome.incarnation)
        self._handle(CoordinatorConnected())
        try:
            await self._read(call)
        finally:
            self._outgoing = None
            self._session_end_s = asyncio.get_running_loop().time()
            for task in speaking:
                task.cancel()
            call.cancel()
            await asyncio.gather(*speaking, return_exceptions=True)
            self._handle(CoordinatorLost())
        return "the coordinator closed the session"

    async def _read(self, call: grpc.aio.StreamStreamCall) -> None:
        while isinstance(response := await call.read(), session_pb2.SessionResponse):
            self._handle(CommandReceived(command=AGENT_COMMAND.from_proto(response)))

    async def _write(self, call: grpc.aio.StreamStreamCall, outgoing: asyncio.Queue[AgentEvent]) -> None:
        """Sends what is queued, until the stream breaks; why it did, the reader finds out."""
        clock = asyncio.get_running_loop().time
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                events = [await outgoing.get()]
                while not outgoing.empty():  # what came together goes together, as far as it fits
                    events.append(outgoing.get_nowait())
                for request in grouped_requests(events, _GROUP_BYTES_MAX):
                    await call.write(request)
                    self._spoken_s = clock()

    async def _beat(self, outgoing: asyncio.Queue[AgentEvent], interval_s: float) -> None:
        """Tells that this event loop runs when nothing else has told it for a while."""
        clock = asyncio.get_running_loop().time
        sequence = 0
        while True:
            if clock() >= self._spoken_s + interval_s:
                sequence += 1
                outgoing.put_nowait(Heartbeat(sequence=sequence))
                self._spoken_s = clock()
            await asyncio.sleep(self._spoken_s + interval_s - clock())
