"""A client that stops reading, over real gRPC: its job ends, nothing is kept for it, and others get their pictures."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import grpc.aio
import pytest

from polyrhythm.agent.v1 import session_pb2_grpc
from polyrhythm.codec.image import image_request_to_proto
from polyrhythm.codec.job import JOB_EVENT
from polyrhythm.errors import ResourceExhaustedError
from polyrhythm.job.events import ImageCompleted
from polyrhythm.job.image import ImageRequest, Quality
from polyrhythm.job.picture_file import PART_BYTES
from polyrhythm.session.commands import ForgetJob
from polyrhythm.v1 import image_service_pb2, image_service_pb2_grpc
from polyrhythm_coordinator.grpc_api.agent import AgentServicer
from polyrhythm_coordinator.grpc_api.image import ImageServicer
from polyrhythm_coordinator.runtime.blob_store import MemoryBlobStore
from polyrhythm_coordinator.runtime.event_log import CLIENT_BYTES_LEAST
from polyrhythm_coordinator.runtime.interpreter import Interpreter
from polyrhythm_coordinator.runtime.job_store import MemoryJobStore
from polyrhythm_coordinator.runtime.planner_thread import compute_plan
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.server import SERVER_OPTIONS, coordinator
from polyrhythm_coordinator.settings import make_settings
from tests.fakes.agents import FakeFleet, error_of

PICTURE_BYTES = 3 << 20
COUNT = 40
MANY = ImageRequest(prompt="many", seed=1, quality=Quality.HIGH, steps=8, count=COUNT, width_px=1024, height_px=1024)
ONE = ImageRequest(prompt="one", seed=1, quality=Quality.HIGH, steps=8)
WAIT_S = 60.0


def asked(request: ImageRequest) -> image_service_pb2.GenerateRequest:
    return image_service_pb2.GenerateRequest(image=image_request_to_proto(request))


async def rest_of(
    call: grpc.aio.UnaryStreamCall[image_service_pb2.GenerateRequest, image_service_pb2.GenerateResponse],
) -> None:
    while await call.read() is not grpc.aio.EOF:  # pyright: ignore[reportAttributeAccessIssue] - its stubs lack it
        pass


async def test_a_client_that_stops_reading_loses_its_job_and_nobody_else_notices() -> None:
    async with coordinator(make_settings(port=0), Limits()) as server:
        fleet = FakeFleet(address := f"127.0.0.1:{server.port}")
        async with grpc.aio.insecure_channel(address) as channel:
            stub = image_service_pb2_grpc.ImageServiceStub(channel)
            agent = await fleet.add("a")
            agent.worker.padding_bytes, agent.worker.part_bytes = PICTURE_BYTES, PART_BYTES
            deaf = stub.Generate(asked(MANY))
            await deaf.read()
            async with asyncio.timeout(WAIT_S):
                await agent.has_seen(ForgetJob)
            assert not server.interpreter.state.jobs
            assert CLIENT_BYTES_LEAST // PICTURE_BYTES < agent.worker.pictures < COUNT / 2
            agent.worker.padding_bytes = 0
            events = [JOB_EVENT.from_proto(response) async for response in stub.Generate(asked(ONE))]
            assert isinstance(events[-1], ImageCompleted)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await rest_of(deaf)
            assert isinstance(error_of(caught.value), ResourceExhaustedError)
            await fleet.close()


async def test_a_client_that_hangs_up_leaves_no_picture_behind() -> None:
    blobs = MemoryBlobStore()
    core = Interpreter(
        state=State(incarnation=1, limits=Limits()),
        clock=time.monotonic,
        draw_seed=lambda: 3,
        compute_plan=compute_plan,
        jobs=MemoryJobStore(),
        blobs=blobs,
        observe=lambda _event, _effects: None,
        observe_failure=lambda event, error: pytest.fail(f"{event}: {error}"),
    )
    server = grpc.aio.server(options=SERVER_OPTIONS)
    image_service_pb2_grpc.add_ImageServiceServicer_to_server(ImageServicer(core), server)
    session_pb2_grpc.add_AgentServiceServicer_to_server(AgentServicer(core), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    fleet = FakeFleet(address)
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(WAIT_S):
        agent = await fleet.add("a")
        agent.worker.padding_bytes, agent.worker.part_bytes = PICTURE_BYTES, PART_BYTES
        call = image_service_pb2_grpc.ImageServiceStub(channel).Generate(asked(replace(MANY, count=4)))
        await call.read()
        await agent.has_seen(ForgetJob)  # all are made, and wait to be read
        assert blobs.kept_bytes > PICTURE_BYTES
        call.cancel()
        while True:
            await asyncio.sleep(0.01)
            if not blobs.kept_bytes:
                break
    await fleet.close()
    await server.stop(0)
