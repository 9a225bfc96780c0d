"""One gRPC channel to a coordinator: protobuf in and out, statuses turned into typed errors.

The only module of the client that names generated stubs. Knows neither files nor terminals.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, TypeVar

import grpc
import grpc.aio

from polyrhythm.codec.bounds import ANSWER_BYTES_MAX, REQUEST_BYTES_MAX
from polyrhythm.codec.explanation import EXPLANATION
from polyrhythm.codec.fleet import AGENT
from polyrhythm.codec.image import image_request_to_proto
from polyrhythm.codec.job import JOB_EVENT
from polyrhythm.codec.status import DETAILS_KEY, error_from_status
from polyrhythm.errors import InvalidArgumentError, PolyrhythmError, UnreachableError
from polyrhythm.fleet import AgentView
from polyrhythm.job.events import JobEvent
from polyrhythm.job.image import ImageRequest
from polyrhythm.plan.explanation import Explanation
from polyrhythm.process import address as addresses
from polyrhythm.process.printable import is_carried
from polyrhythm.v1 import fleet_pb2, fleet_pb2_grpc, image_service_pb2, image_service_pb2_grpc
from polyrhythm_client.forked import FIRST_CHANNEL

T = TypeVar("T")

# Questions may be asked again, a picture may not: the coordinator might be making it already. gRPC draws the delay
# between attempts at random below a bound that starts here and grows.
_RETRIES = {
    "methodConfig": [
        {
            "name": [
                {"service": "polyrhythm.v1.FleetService", "method": "ListAgents"},
                {"service": "polyrhythm.v1.FleetService", "method": "DrainAgent"},
                {"service": "polyrhythm.v1.ImageService", "method": "ExplainPlan"},
            ],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_send_message_length", REQUEST_BYTES_MAX),
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
    # A coordinator that vanished without a word is noticed within 30 s, however long a picture takes.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # the one that grpc heeds, 60 s if unset
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    *addresses.CHANNEL_OPTIONS,
    ("grpc.service_config", json.dumps(_RETRIES)),
)


class Connection:
    """The RPCs of a coordinator, with the vocabulary's types.

    Raises:
        ForkedError: gRPC was first used in the process that this one was forked from.
    """

    def __init__(self, address: str) -> None:
        FIRST_CHANNEL.check()
        self._address = address
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._images = image_service_pb2_grpc.ImageServiceStub(self._channel)
        self._fleet = fleet_pb2_grpc.FleetServiceStub(self._channel)

    async def generate(self, request: ImageRequest, deadline_s: float) -> AsyncGenerator[JobEvent]:
        """Runs a job; leaving the iteration early cancels it.

        Raises:
            PolyrhythmError: what the coordinator said, or why it cannot be heard.
        """
        call = self._images.Generate(
            image_service_pb2.GenerateRequest(image=image_request_to_proto(request)), timeout=deadline_s
        )
        try:
            while True:
                response = await self._answer(call, call.read())
                if response is grpc.aio.EOF:  # pyright: ignore[reportAttributeAccessIssue] - its stubs lack it
                    return
                yield JOB_EVENT.from_proto(response)
        finally:
            call.cancel()

    async def explain(self, request: ImageRequest, deadline_s: float) -> Explanation:
        """Asks how a request would be run.

        Raises:
            PolyrhythmError: what the coordinator said, or why it cannot be heard.
        """
        call = self._images.ExplainPlan(
            image_service_pb2.ExplainPlanRequest(image=image_request_to_proto(request)), timeout=deadline_s
        )
        response: image_service_pb2.ExplainPlanResponse = await self._answer(call, call)
        return EXPLANATION.from_proto(response.explanation)

    async def agents(self, deadline_s: float) -> tuple[AgentView, ...]:
        """Lists the connected agents, sorted by name.

        Raises:
            PolyrhythmError: what the coordinator said, or why it cannot be heard.
        """
        call = self._fleet.ListAgents(fleet_pb2.ListAgentsRequest(), timeout=deadline_s)
        response: fleet_pb2.ListAgentsResponse = await self._answer(call, call)
        return tuple(AGENT.from_proto(agent, f"agents[{index}]") for index, agent in enumerate(response.agents))

    async def drain(self, agent: str, deadline_s: float, *, undo: bool) -> AgentView | None:
        """Takes an agent out of service, or puts it back; None if it is not connected.

        Raises:
            PolyrhythmError: what the coordinator said, or why it cannot be heard.
        """
        if not is_carried(agent):
            raise InvalidArgumentError.of("agent", "must be text that UTF-8 can carry")
        call = self._fleet.DrainAgent(fleet_pb2.DrainAgentRequest(agent=agent, undo=undo), timeout=deadline_s)
        response: fleet_pb2.DrainAgentResponse = await self._answer(call, call)
        return AGENT.from_proto(response.agent) if response.HasField("agent") else None

    async def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        await self._channel.close()

    async def _answer(self, call: grpc.aio.Call, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except grpc.aio.AioRpcError as error:
            raise self._typed(error.code(), error.details(), error.trailing_metadata()) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling() or not call.cancelled():
                raise
            # gRPC raises this too where the coordinator ended the call with the status CANCELLED.
            status = (await call.code(), await call.details(), await call.trailing_metadata())
            raise self._typed(*status) from None

    def _typed(self, code: grpc.StatusCode, message: str | None, trailing: grpc.aio.Metadata) -> PolyrhythmError:
        details = trailing.get(DETAILS_KEY) if trailing else None
        error = error_from_status(code, message or code.name, details if isinstance(details, bytes) else None)
        if isinstance(error, UnreachableError):
            return UnreachableError(f"address: the coordinator at {self._address} cannot be reached: {error}")
        return error
