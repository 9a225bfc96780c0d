"""A coordinator behind real gRPC with its fake agents, and what a client reads of a picture there."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass

import grpc.aio
import pytest

from polyrhythm.codec.image import image_request_to_proto
from polyrhythm.codec.job import JOB_EVENT
from polyrhythm.errors import PolyrhythmError
from polyrhythm.job.events import ImageProgressed, JobEvent
from polyrhythm.job.image import ImageRequest, Quality
from polyrhythm.v1 import image_service_pb2, image_service_pb2_grpc
from polyrhythm_coordinator.server import Coordinator
from tests.fakes.agents import FakeFleet, error_of

REQUEST = ImageRequest(prompt="a red apple", seed=1, quality=Quality.HIGH, steps=40)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A coordinator with its fake agents and a channel to it."""

    server: Coordinator
    fleet: FakeFleet
    channel: grpc.aio.Channel

    def generate(
        self, request: ImageRequest = REQUEST, *, timeout_s: float | None = None
    ) -> grpc.aio.UnaryStreamCall[image_service_pb2.GenerateRequest, image_service_pb2.GenerateResponse]:
        stub = image_service_pb2_grpc.ImageServiceStub(self.channel)
        return stub.Generate(
            image_service_pb2.GenerateRequest(image=image_request_to_proto(request)), timeout=timeout_s
        )


async def events_of(call: AsyncIterable[image_service_pb2.GenerateResponse]) -> list[JobEvent]:
    return [JOB_EVENT.from_proto(response) async for response in call]


async def read_until(
    call: AsyncIterable[image_service_pb2.GenerateResponse], condition: Callable[[JobEvent], bool]
) -> list[JobEvent]:
    events: list[JobEvent] = []
    async for response in call:
        events.append(JOB_EVENT.from_proto(response))
        if condition(events[-1]):
            return events
    raise AssertionError(f"the stream ended before that: {events}")


async def error_from(call: AsyncIterable[image_service_pb2.GenerateResponse]) -> PolyrhythmError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await events_of(call)
    return error_of(caught.value)


def is_at(step: int) -> Callable[[JobEvent], bool]:
    return lambda event: isinstance(event, ImageProgressed) and event.step >= step
