"""The daemon's link to a coordinator played by hand: messages too large to go together, and silence without an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from polyrhythm.ids import AgentId, EpochId
from polyrhythm.job.picture_file import PART_BYTES
from polyrhythm.model.facts import DeviceFacts, DeviceKind, SoftwareVersion
from polyrhythm.session.events import PROTOCOL_VERSION, AgentEvent, ImageMade, Register
from polyrhythm_agent.daemon.coordinator_link import CoordinatorLink, LinkTiming
from polyrhythm_agent.daemon.rules.signals import CoordinatorConnected, OversightEvent
from tests.fakes.agent_service import WAIT_S, FakeAgentService, serving

REGISTRATION = Register(
    agent=AgentId("a"),
    protocol_version=PROTOCOL_VERSION,
    software=(SoftwareVersion(name="python", version="3"),),
    device=DeviceFacts(uuid="CPU-1", name="cpu", kind=DeviceKind.CPU, memory_total_bytes=2, memory_free_bytes=1),
)
TIMING = LinkTiming(first_retry_s=0.01, longest_retry_s=0.05)


@asynccontextmanager
async def linked(
    port: int,
    *at_once: AgentEvent,
    timing: LinkTiming = TIMING,
    heard: asyncio.Queue[OversightEvent] | None = None,
) -> AsyncIterator[None]:
    """Runs a link that sends these events in one go as soon as there is a session; puts what it tells into a queue."""

    def handle(event: OversightEvent) -> None:
        if heard is not None:
            heard.put_nowait(event)
        if isinstance(event, CoordinatorConnected):
            for sent in at_once:
                link.send(sent)

    link = CoordinatorLink(
        address=f"127.0.0.1:{port}",
        registration=REGISTRATION,
        handle=handle,
        chance=lambda: 0.0,
        timing=timing,
        connect_timeout_s=None,
    )
    running = asyncio.create_task(link.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_large_picture_is_delivered_whole_however_much_of_it_waits() -> None:
    parts = [
        ImageMade(
            epoch=EpochId(incarnation=1, counter=1),
            offset=index * PART_BYTES,
            data=bytes([index]) * PART_BYTES,
            last=index == 11,
            decode_s=0.0,
        )
        for index in range(12)
    ]
    service = FakeAgentService()
    async with serving(service) as port, linked(port, *parts):
        session = await service.next_session()
        await session.hear(Register)
        assert [await session.hear(ImageMade) for _ in parts] == parts


async def test_a_proxy_of_the_environment_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    service = FakeAgentService()
    async with serving(service) as port, linked(port):
        await (await service.next_session()).hear(Register)


class Wire:
    """Passes bytes on between an agent and a coordinator until it is cut; then nobody is told, as with a frozen one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._passing: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, there_writer]
        self._passing |= {
            asyncio.create_task(self._pass_on(reader, there_writer)),
            asyncio.create_task(self._pass_on(there_reader, writer)),
        }

    def freeze(self) -> None:
        """What is connected stays so and says nothing more; new connections work."""
        while self._passing:
            self._passing.pop().cancel()

    def close(self) -> None:
        self.freeze()
        for writer in self._writers:
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)


@asynccontextmanager
async def wired(port: int) -> AsyncIterator[tuple[Wire, int]]:
    wire = Wire(port)
    server = await asyncio.start_server(wire.connect, "127.0.0.1", 0)
    try:
        yield wire, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        wire.close()


async def test_a_coordinator_that_answers_no_ping_is_dialled_again_in_seconds() -> None:
    service = FakeAgentService()
    timing = replace(TIMING, ping_s=0.5, pong_s=0.5)
    async with serving(service) as port, wired(port) as (wire, wire_port), linked(wire_port, timing=timing):
        session = await service.next_session()
        await session.hear(Register)
        for _ in range(5):  # gRPC's first pings, which measure the link, are answered by then
            await asyncio.wait_for(session.heartbeats.get(), WAIT_S)
        wire.freeze()
        await (await service.next_session()).hear(Register)
