"""A client that stops reading, over real gRPC: its job ends, nothing is kept for it, and others get their pictures."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest

from polyrhythm.codec.image import image_request_to_proto
from polyrhythm.codec.job_events import job_event_from_proto
from polyrhythm.errors import ResourceExhaustedError
from polyrhythm.job.events import ImageCompleted
from polyrhythm.job.image import ImageRequest, Quality
from polyrhythm.job.picture_file import PART_BYTES
from polyrhythm.session.messages import ForgetJob
from polyrhythm.v1 import image_pb2, image_pb2_grpc
from polyrhythm_coordinator.runtime.event_log import CLIENT_BYTES_LEAST
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.server import coordinator
from polyrhythm_coordinator.settings import make_settings
from tests.fakes.agents import FakeFleet, error_of

PICTURE_BYTES = 3 << 20
COUNT = 40
MANY = ImageRequest(prompt="many", seed=1, quality=Quality.HIGH, steps=8, count=COUNT, width_px=1024, height_px=1024)
ONE = ImageRequest(prompt="one", seed=1, quality=Quality.HIGH, steps=8)
WAIT_S = 60.0


def asked(request: ImageRequest) -> image_pb2.GenerateRequest:
    return image_pb2.GenerateRequest(image=image_request_to_proto(request))


async def rest_of(call: grpc.aio.UnaryStreamCall[image_pb2.GenerateRequest, image_pb2.GenerateResponse]) -> None:
    while await call.read() is not grpc.aio.EOF:  # pyright: ignore[reportAttributeAccessIssue] - its stubs lack it
        pass


async def test_a_client_that_stops_reading_loses_its_job_and_nobody_else_notices() -> None:
    async with coordinator(make_settings(port=0), Limits()) as server:
        fleet = FakeFleet(address := f"127.0.0.1:{server.port}")
        async with grpc.aio.insecure_channel(address) as channel:
            stub = image_pb2_grpc.ImageServiceStub(channel)
            agent = await fleet.add("a")
            agent.worker.padding_bytes, agent.worker.part_bytes = PICTURE_BYTES, PART_BYTES
            deaf = stub.Generate(asked(MANY))
            await deaf.read()
            async with asyncio.timeout(WAIT_S):
                await agent.has_seen(ForgetJob)
            assert not server.interpreter.state.jobs
            assert CLIENT_BYTES_LEAST // PICTURE_BYTES < agent.worker.pictures < COUNT / 2
            agent.worker.padding_bytes = 0
            events = [job_event_from_proto(response) async for response in stub.Generate(asked(ONE))]
            assert isinstance(events[-1], ImageCompleted)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await rest_of(deaf)
            assert isinstance(error_of(caught.value), ResourceExhaustedError)
            await fleet.close()
