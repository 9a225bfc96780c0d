"""How an agent's stream begins, and what an agent is told whose stream begins otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from polyrhythm.agent.v1 import session_pb2, session_pb2_grpc
from polyrhythm.codec.events import AGENT_EVENT
from polyrhythm.ids import AgentId
from polyrhythm.session.events import AgentEvent, Heartbeat
from polyrhythm_coordinator.grpc_api.agent import AgentServicer
from polyrhythm_coordinator.runtime.blob_store import MemoryBlobStore
from polyrhythm_coordinator.runtime.interpreter import Interpreter
from polyrhythm_coordinator.runtime.job_store import MemoryJobStore
from polyrhythm_coordinator.runtime.planner_thread import compute_plan
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from tests.fakes.worker import register

PATIENCE_S = 0.05


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[session_pb2_grpc.AgentServiceStub]:
    core = Interpreter(
        state=State(incarnation=1, limits=Limits()),
        clock=lambda: 0.0,
        draw_seed=lambda: 3,
        compute_plan=compute_plan,
        jobs=MemoryJobStore(),
        blobs=MemoryBlobStore(),
        observe=lambda _event, _effects: None,
        observe_failure=lambda _event, _error: None,
    )
    server = grpc.aio.server()
    session_pb2_grpc.add_AgentServiceServicer_to_server(AgentServicer(core, register_timeout_s=PATIENCE_S), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield session_pb2_grpc.AgentServiceStub(channel)
    await server.stop(0)


async def test_a_slow_introduction_is_no_refusal(stub: session_pb2_grpc.AgentServiceStub) -> None:
    call = stub.Session()
    assert await call.code() is grpc.StatusCode.UNAVAILABLE  # after which an agent dials again
    assert "no register message within 0.05 s" in await call.details()


@pytest.mark.parametrize(
    "events",
    [(), (Heartbeat(sequence=1),), (register(AgentId("a")), Heartbeat(sequence=1))],
    ids=["nothing", "another", "more"],
)
async def test_a_stream_that_begins_otherwise_is_refused(
    stub: session_pb2_grpc.AgentServiceStub, events: tuple[AgentEvent, ...]
) -> None:
    call = stub.Session()
    await call.write(session_pb2.SessionRequest(events=[AGENT_EVENT.to_proto(event) for event in events]))
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "begins with" in await call.details()


async def test_a_stream_that_ends_at_once_is_refused(stub: session_pb2_grpc.AgentServiceStub) -> None:
    call = stub.Session()
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
