"""Messages as large as the two ends of a connection have agreed on pass, and all ends have agreed on the same.

gRPC's own limit is 4 MiB of what is read, and none of what is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import grpc.aio
import pytest

from polyrhythm.codec.bounds import ANSWER_BYTES_MAX, REQUEST_BYTES_MAX, TEXT_CHARACTERS_MAX
from polyrhythm.codec.commands import AGENT_COMMAND
from polyrhythm.codec.fleet import AGENT
from polyrhythm.codec.image import image_request_to_proto
from polyrhythm.errors import NoAgentsError, ResourceExhaustedError
from polyrhythm.job.image import ImageRequest
from polyrhythm.session.rendezvous import StoreReply
from polyrhythm.v1 import fleet_pb2, fleet_pb2_grpc, image_service_pb2
from polyrhythm_agent.daemon.coordinator_link import LinkTiming
from polyrhythm_agent.daemon.rules.signals import CommandReceived, OversightEvent
from polyrhythm_client import AsyncClient
from polyrhythm_client.connection import CHANNEL_OPTIONS
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.server import SERVER_OPTIONS, coordinator
from polyrhythm_coordinator.settings import make_settings
from tests.fakes.agent_service import WAIT_S, FakeAgentService, serving
from tests.fakes.coordinator import agent_view
from tests.integration.test_coordinator_link import linked

SEND, RECEIVE = "grpc.max_send_message_length", "grpc.max_receive_message_length"
REQUEST_FRAME_BYTES = 16
"""Of a request beside its prompt, at most."""


@pytest.mark.parametrize("dialling", [CHANNEL_OPTIONS, LinkTiming().channel_options()], ids=["client", "agent"])
def test_what_one_end_sends_the_other_one_reads(dialling: Iterable[tuple[str, object]]) -> None:
    server, channel = dict(SERVER_OPTIONS), dict(dialling)
    assert channel[SEND] == server[RECEIVE] == REQUEST_BYTES_MAX
    assert channel[RECEIVE] == server[SEND] == ANSWER_BYTES_MAX


def largest_listing(size: int) -> fleet_pb2.ListAgentsResponse:
    """An answer of exactly so many bytes."""
    told = AGENT.to_proto(agent_view("a"))
    told.trouble = "t" * TEXT_CHARACTERS_MAX
    response = fleet_pb2.ListAgentsResponse(agents=[told] * (size // (told.ByteSize() + 3)))
    response.agents.add().CopyFrom(AGENT.to_proto(agent_view("b")))
    response.agents[0].trouble = ""
    response.agents[-1].trouble = "t" * 200
    response.agents[0].trouble = "t" * (size - response.ByteSize() - 3)
    assert response.ByteSize() == size
    return response


class Listing(fleet_pb2_grpc.FleetServiceServicer):
    """A fleet of which an answer of a size tells."""

    def __init__(self, size: int) -> None:
        self.response = largest_listing(size)

    async def ListAgents(
        self, request: fleet_pb2.ListAgentsRequest, context: grpc.aio.ServicerContext
    ) -> fleet_pb2.ListAgentsResponse:
        return self.response


@asynccontextmanager
async def telling(size: int) -> AsyncIterator[str]:
    """A server with the coordinator's options; yields its address."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    fleet_pb2_grpc.add_FleetServiceServicer_to_server(Listing(size), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_a_client_reads_an_answer_as_large_as_a_coordinator_sends() -> None:
    async with telling(ANSWER_BYTES_MAX) as address, AsyncClient(address) as client:
        assert len(await client.agents()) > ANSWER_BYTES_MAX // (2 * TEXT_CHARACTERS_MAX)


async def test_an_agent_reads_a_command_as_large_as_a_coordinator_sends() -> None:
    command = StoreReply(request_id=1, value=bytes(ANSWER_BYTES_MAX - 20), found=True)
    assert ANSWER_BYTES_MAX - 16 < AGENT_COMMAND.to_proto(command).ByteSize() <= ANSWER_BYTES_MAX
    heard: asyncio.Queue[OversightEvent] = asyncio.Queue()
    service = FakeAgentService()
    async with serving(service) as port, linked(port, heard=heard):
        (await service.next_session()).say(command)
        while not isinstance(event := await asyncio.wait_for(heard.get(), WAIT_S), CommandReceived):
            pass
        assert event == CommandReceived(command=command)


async def test_a_coordinator_reads_a_request_as_large_as_a_client_sends_and_a_client_sends_no_larger_one() -> None:
    def request(beyond: int) -> ImageRequest:
        return ImageRequest(prompt="p" * (REQUEST_BYTES_MAX - REQUEST_FRAME_BYTES + beyond))

    proto = image_service_pb2.ExplainPlanRequest(image=image_request_to_proto(request(0)))
    spare = REQUEST_BYTES_MAX - proto.ByteSize()
    assert 0 <= spare < REQUEST_FRAME_BYTES
    async with coordinator(make_settings(port=0), Limits()) as running, AsyncClient(running.address) as client:
        with pytest.raises(NoAgentsError):  # so it was read
            await client.explain(request(spare))
        with pytest.raises(ResourceExhaustedError):
            await client.explain(request(spare + 1))


async def test_a_proxy_of_the_environment_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on loopback: gRPC would ask it for any address."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with telling(100_000) as address, AsyncClient(address, query_deadline_s=WAIT_S) as client:
        assert await client.agents()
