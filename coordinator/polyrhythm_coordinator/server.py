"""The coordinator process: composition root, command line and life cycle. No decision about pictures is made here."""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2_grpc

from polyrhythm.agent.v1 import session_pb2, session_pb2_grpc
from polyrhythm.codec.bounds import ANSWER_BYTES_MAX, REQUEST_BYTES_MAX
from polyrhythm.errors import AlreadyInUseError, InternalError, InvalidArgumentError, PolyrhythmError
from polyrhythm.process.environment import Daemon, told_by_variables
from polyrhythm.process.lifeline import watch_lifeline
from polyrhythm.process.log_setup import log_to_stderr
from polyrhythm.process.standard_streams import forgive_standard_streams
from polyrhythm.v1 import fleet_pb2, fleet_pb2_grpc, image_service_pb2, image_service_pb2_grpc
from polyrhythm_coordinator.grpc_api.agent import AgentServicer
from polyrhythm_coordinator.grpc_api.fleet import FleetServicer
from polyrhythm_coordinator.grpc_api.health import FleetHealth
from polyrhythm_coordinator.grpc_api.image import ImageServicer
from polyrhythm_coordinator.grpc_api.listening import address_of, try_listening
from polyrhythm_coordinator.grpc_api.malformed import MalformedRequests
from polyrhythm_coordinator.grpc_api.reflection import add_reflection
from polyrhythm_coordinator.runtime.blob_store import MemoryBlobStore
from polyrhythm_coordinator.runtime.interpreter import Interpreter
from polyrhythm_coordinator.runtime.job_store import MemoryJobStore
from polyrhythm_coordinator.runtime.observer import log_everything, log_failure
from polyrhythm_coordinator.runtime.planner_thread import compute_plan
from polyrhythm_coordinator.scheduling.state.effects import Effect
from polyrhythm_coordinator.scheduling.state.events import Event, Stopping, Tick
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.settings import CoordinatorSettings, is_loopback, read_settings, set_by_variables

PROGRAM = "polyrhythm-coordinator"
IMAGE_SERVICE = image_service_pb2.DESCRIPTOR.services_by_name["ImageService"].full_name
FLEET_SERVICE = fleet_pb2.DESCRIPTOR.services_by_name["FleetService"].full_name
AGENT_SERVICE = session_pb2.DESCRIPTOR.services_by_name["AgentService"].full_name

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2

CALLS_MAX = 128
"""At a time on one connection."""
STOP_GRACE_S = 1.0
PLACES_INTERVAL_S = 1.0
"""How old a place in the queue may be that a client knows."""
SEED_DRAWN_MAX = 2**32
"""Short enough to be typed again."""

SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a port that is taken is an error, never shared
    ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
    ("grpc.max_send_message_length", ANSWER_BYTES_MAX),
    ("grpc.max_concurrent_streams", CALLS_MAX),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # this one, a minute by default, bounds how long a ping goes unanswered
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_pings_without_data", 0),
)

log = structlog.get_logger("polyrhythm.coordinator")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinator:
    """A coordinator that listens.

    Attributes:
        interpreter: the core in its world.
        port: that it listens on; means nothing with a unix socket.
        address: to dial.
    """

    interpreter: Interpreter
    port: int
    address: str


@asynccontextmanager
async def coordinator(
    settings: CoordinatorSettings, limits: Limits, *, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[Coordinator]:
    """Runs a coordinator for as long as the context lasts; at its end jobs and streams get a typed error.

    Args:
        settings: where to listen.
        limits: patience of the core.
        clock: seconds on a clock that never runs backwards.

    Raises:
        AlreadyInUseError: the port is taken.
        InternalError: at the end, if the core has broken down.
    """
    fleet_health = FleetHealth(live=(FLEET_SERVICE, AGENT_SERVICE), ready=IMAGE_SERVICE)

    def observe(event: Event, effects: tuple[Effect, ...]) -> None:
        log_everything(event, effects)
        fleet_health.take(effects)

    interpreter = Interpreter(
        state=State(incarnation=time.time_ns() // 1_000_000, limits=limits),
        clock=clock,
        draw_seed=lambda: secrets.randbelow(SEED_DRAWN_MAX),
        compute_plan=compute_plan,
        jobs=MemoryJobStore(),
        blobs=MemoryBlobStore(),
        observe=observe,
        observe_failure=log_failure,
    )
    server = grpc.aio.server(interceptors=(MalformedRequests(),), options=SERVER_OPTIONS)
    _register(server, interpreter, fleet_health)
    port = _bind(server, settings)
    await fleet_health.begin()
    await server.start()
    timers = (
        asyncio.create_task(_tick_forever(interpreter, limits.tick_interval_s)),
        asyncio.create_task(_tell_places_forever(interpreter)),
    )
    try:
        yield Coordinator(interpreter=interpreter, port=port, address=address_of(settings.host, port))
    finally:
        for timer in timers:
            timer.cancel()
        await asyncio.gather(*timers, return_exceptions=True)
        failure = interpreter.failure
        if failure is not None:
            log.error("the scheduling core has broken down", exc_info=failure)
        try:
            interpreter.feed(Stopping())
        finally:
            await server.stop(STOP_GRACE_S)
            await interpreter.settled()
    if failure is not None:
        told = f"the scheduling core has broken down: {type(failure).__name__}: {failure}"
        raise InternalError(told) from failure


async def serve(settings: CoordinatorSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Runs until a signal comes, the lifeline ends or the core breaks down.

    Raises:
        AlreadyInUseError: the port is taken.
        InternalError: the core has broken down.
        InvalidArgumentError: host, port or lifeline cannot be used.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if settings.lifeline_fd is not None:
        watch_lifeline(settings.lifeline_fd, stop.set)
    log.info("settings", **settings.model_dump())
    if not is_loopback(settings.host):
        log.warning("listening beyond loopback without TLS and token: only for a network that nobody else can reach")
    async with coordinator(settings, Limits(), clock=clock) as running:
        sys.stdout.write(f"{PROGRAM} ready on {running.address}\n")
        sys.stdout.flush()
        ends = (asyncio.create_task(stop.wait()), asyncio.create_task(running.interpreter.failed()))
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        log.info("stopping")


def main() -> None:
    """Entry point of the command ``polyrhythm-coordinator``."""
    forgive_standard_streams()
    try:
        settings = read_settings(sys.argv[1:])
        log_to_stderr(level=settings.log_level)
        with told_by_variables(Daemon.COORDINATOR, set_by_variables(sys.argv[1:])):
            asyncio.run(serve(settings))
    except PolyrhythmError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        sys.exit(EXIT_BAD_INPUT if isinstance(error, InvalidArgumentError) else EXIT_FAILED)


def _register(server: grpc.aio.Server, interpreter: Interpreter, fleet_health: FleetHealth) -> None:
    image_service_pb2_grpc.add_ImageServiceServicer_to_server(ImageServicer(interpreter), server)
    fleet_pb2_grpc.add_FleetServiceServicer_to_server(FleetServicer(interpreter), server)
    session_pb2_grpc.add_AgentServiceServicer_to_server(AgentServicer(interpreter), server)
    health_pb2_grpc.add_HealthServicer_to_server(fleet_health.servicer, server)
    add_reflection(server, (IMAGE_SERVICE, FLEET_SERVICE, AGENT_SERVICE, health.SERVICE_NAME))


def _bind(server: grpc.aio.Server, settings: CoordinatorSettings) -> int:
    address = address_of(settings.host, settings.port)
    try_listening(settings.host, settings.port)
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:  # taken since the check
        raise AlreadyInUseError(f"--port: cannot listen on {address}") from error


async def _tick_forever(interpreter: Interpreter, interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        interpreter.feed(Tick())


async def _tell_places_forever(interpreter: Interpreter) -> None:
    while True:
        await asyncio.sleep(PLACES_INTERVAL_S)
        await interpreter.tell_places()


if __name__ == "__main__":
    main()
