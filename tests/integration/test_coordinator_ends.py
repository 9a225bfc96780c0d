"""How a coordinator ends: a fault of its own, a signal, and what clients and agents are told of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc.aio
import pytest

from polyrhythm.errors import InternalError, UnreachableError
from polyrhythm.v1 import image_service_pb2
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.server import Coordinator, coordinator, serve
from polyrhythm_coordinator.settings import make_settings
from tests.fakes.agents import FakeAgent, FakeFleet
from tests.worlds.coordinator_site import Site, error_from, is_at, read_until


class Clock:
    """Runs well but for one reading."""

    def __init__(self) -> None:
        self.broken = False

    def __call__(self) -> float:
        if self.broken:
            self.broken = False
            raise ZeroDivisionError("the clock stood still")
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class PausedPicture:
    """A picture that stands still in its middle: who makes it, and the call of its client."""

    agent: FakeAgent
    call: grpc.aio.UnaryStreamCall[image_service_pb2.GenerateRequest, image_service_pb2.GenerateResponse]


@asynccontextmanager
async def paused_picture(server: Coordinator) -> AsyncIterator[PausedPicture]:
    """One on a coordinator that may end before this does."""
    address = f"127.0.0.1:{server.port}"
    fleet = FakeFleet(address)
    channel = grpc.aio.insecure_channel(address)
    agent = await fleet.add("a")
    agent.worker.pause_at = 12
    call = Site(server=server, fleet=fleet, channel=channel).generate()
    await read_until(call, is_at(12))
    yield PausedPicture(agent=agent, call=call)
    await fleet.close()
    await channel.close()


async def test_a_tick_that_fails_ends_the_coordinator_and_its_jobs() -> None:
    clock = Clock()
    limits = Limits(heartbeat_interval_s=60.0, heartbeat_timeout_s=60.0)  # nothing but ticks while the agent pauses
    async with AsyncExitStack() as beyond, AsyncExitStack() as stack:
        server = await stack.enter_async_context(coordinator(make_settings(port=0), limits, clock=clock))
        picture = await beyond.enter_async_context(paused_picture(server))
        clock.broken = True
        await asyncio.wait_for(server.interpreter.failed(), 10)
        told = asyncio.create_task(error_from(picture.call))
        with pytest.raises(InternalError, match="the clock stood still"):
            await stack.aclose()
        assert isinstance(await told, UnreachableError)


async def test_a_coordinator_that_breaks_down_does_not_wait_for_a_signal() -> None:
    clock = Clock()
    clock.broken = True
    with pytest.raises(InternalError, match="the clock stood still"):
        await asyncio.wait_for(serve(make_settings(port=0), clock=clock), 10)


async def test_stopping_tells_clients_and_agents() -> None:
    async with AsyncExitStack() as beyond, AsyncExitStack() as stack:
        server = await stack.enter_async_context(coordinator(make_settings(port=0), Limits()))
        picture = await beyond.enter_async_context(paused_picture(server))
        stopped = asyncio.create_task(error_from(picture.call))
        await asyncio.sleep(0)
        await stack.aclose()
        assert isinstance(await stopped, UnreachableError)
        await picture.agent.ended.wait()
        assert isinstance(picture.agent.error, UnreachableError)
