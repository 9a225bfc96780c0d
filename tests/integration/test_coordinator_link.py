"""The daemon's link to a coordinator played by hand: messages too large to go together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from polyrhythm.facts import DeviceFacts, DeviceKind
from polyrhythm.ids import AgentId, EpochId
from polyrhythm.messages import PROTOCOL_VERSION, AgentEvent, ImageMade, Register
from polyrhythm_agent.coordinator_link import CoordinatorLink, LinkTiming
from polyrhythm_agent.oversight.signals import CoordinatorConnected, OversightEvent
from tests.fake_agent_service import FakeAgentService, serving

PART_BYTES = 1 << 20
REGISTRATION = Register(
    agent=AgentId("a"),
    protocol_version=PROTOCOL_VERSION,
    software=(("python", "3"),),
    device=DeviceFacts(uuid="CPU-1", name="cpu", kind=DeviceKind.CPU, memory_total_bytes=2, memory_free_bytes=1),
)
TIMING = LinkTiming(first_retry_s=0.01, longest_retry_s=0.05)


@asynccontextmanager
async def linked(port: int, *at_once: AgentEvent, timing: LinkTiming = TIMING) -> AsyncIterator[None]:
    """Runs a link that sends these events in one go as soon as there is a session."""

    def handle(event: OversightEvent) -> None:
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
