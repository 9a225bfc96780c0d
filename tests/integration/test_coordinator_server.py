"""The coordinator as its clients and agents see it: real gRPC on a free port, fake agents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from polyrhythm.codec.explanation import EXPLANATION
from polyrhythm.codec.fleet import AGENT
from polyrhythm.codec.image import image_request_to_proto
from polyrhythm.errors import (
    AgentsLostError,
    AlreadyInUseError,
    InvalidArgumentError,
    NoAgentsError,
    NotFoundError,
    PolyrhythmError,
    WireError,
)
from polyrhythm.fleet import AgentState
from polyrhythm.ids import AgentId
from polyrhythm.job.events import (
    AgentFailed,
    ImageChunk,
    ImageCompleted,
    ImagePlanned,
    ImageReplanned,
    JobDelayed,
    JobQueued,
    ReplanReason,
)
from polyrhythm.job.image import ImageRequest
from polyrhythm.session.commands import CancelEpoch, ExtendPlan, ForgetJob
from polyrhythm.v1 import fleet_pb2, fleet_pb2_grpc, image_service_pb2, image_service_pb2_grpc
from polyrhythm_client import AsyncClient
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.server import AGENT_SERVICE, FLEET_SERVICE, IMAGE_SERVICE, coordinator
from polyrhythm_coordinator.settings import make_settings
from tests.fakes.agents import FakeAgent, FakeFleet, error_of
from tests.fakes.model import PNG
from tests.fakes.worker import FakeWorker, register
from tests.worlds.coordinator_site import REQUEST, Site, error_from, events_of, is_at, read_until

WAIT_S = 10.0


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    async with coordinator(make_settings(port=0), Limits()) as server:
        address = f"127.0.0.1:{server.port}"
        fleet = FakeFleet(address)
        async with grpc.aio.insecure_channel(address) as channel:
            yield Site(server=server, fleet=fleet, channel=channel)
            await fleet.close()


async def test_a_picture_on_two_agents(site: Site) -> None:
    await site.fleet.add("a")
    await site.fleet.add("b")
    events = await events_of(site.generate())
    assert b"".join(event.data for event in events if isinstance(event, ImageChunk)) == PNG
    (planned,) = [event for event in events if isinstance(event, ImagePlanned)]
    assert planned.explanation.chosen.plan.agents == ("a", "b")
    assert isinstance(events[-1], ImageCompleted)
    assert [usage.steps for usage in events[-1].report.agents] == [40, 40]
    assert events[-1].report.denoise_s > 0
    assert all(agent.worker.stalls == 0 for agent in site.fleet.agents.values())


async def test_a_second_request_waits_and_a_cancelled_one_makes_room(site: Site) -> None:
    agent = await site.fleet.add("a")
    agent.worker.pause_at = 8
    first = site.generate()
    await read_until(first, is_at(8))
    second = site.generate()
    events = await read_until(second, lambda event: isinstance(event, JobQueued))
    assert events[-1] == JobQueued(position=1)
    first.cancel()
    events = await read_until(second, is_at(8))
    assert JobQueued(position=0) in events
    assert [type(command) for command in agent.worker.seen].count(CancelEpoch) == 1
    site.fleet.pause_at(None)
    rest = await events_of(second)
    assert isinstance(rest[-1], ImageCompleted)
    await agent.has_seen(ForgetJob, times=2)


async def test_who_waits_hears_of_a_better_place_soon(site: Site) -> None:
    agent = await site.fleet.add("a")
    agent.worker.pause_at = 8
    calls = [site.generate()]
    await read_until(calls[0], is_at(8))
    for place in (1, 2):
        calls.append(site.generate())
        events = await read_until(calls[-1], lambda event: isinstance(event, JobQueued))
        assert events[-1] == JobQueued(position=place)
    calls[1].cancel()
    async with asyncio.timeout(5):
        (event,) = await read_until(calls[2], lambda event: isinstance(event, JobQueued))
    assert event == JobQueued(position=1)


async def test_a_deadline_ends_the_job(site: Site) -> None:
    agent = await site.fleet.add("a")
    agent.worker.pause_at = 8
    call = site.generate(timeout_s=0.5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await events_of(call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await agent.has_seen(CancelEpoch)
    assert site.server.interpreter.state.jobs == {}


async def test_an_agent_that_vanishes_in_mid_image(site: Site) -> None:
    await site.fleet.add("a")
    b = await site.fleet.add("b")
    site.fleet.pause_at(12)
    call = site.generate()
    await read_until(call, is_at(12))
    await b.vanish()
    site.fleet.pause_at(None)
    events = await events_of(call)
    (replanned,) = [event for event in events if isinstance(event, ImageReplanned)]
    assert (replanned.begin_step, replanned.plan.agents) == (12, ("a",))
    assert [event.agent for event in events if isinstance(event, AgentFailed)] == ["b"]
    assert isinstance(events[-1], ImageCompleted)


async def test_an_agent_that_hangs_in_mid_image(site: Site) -> None:
    await site.fleet.add("a")
    b = await site.fleet.add("b")
    site.fleet.pause_at(12)
    call = site.generate()
    await read_until(call, is_at(12))
    b.hang()
    site.fleet.pause_at(None)
    events = await events_of(call)
    assert [event.plan.agents for event in events if isinstance(event, ImageReplanned)] == [("a",)]
    assert isinstance(events[-1], ImageCompleted)
    await b.ended.wait()
    assert isinstance(b.error, AgentsLostError)


async def test_with_all_agents_gone_for_good_the_client_gets_a_typed_error_and_the_next_job_works(site: Site) -> None:
    async def lose_at_step_12() -> None:
        a.worker.pause_at = 12
        a.load()
        await read_until(call, is_at(12))
        await a.vanish()

    a = await site.fleet.add("a", ready=False)
    call = site.generate()
    await lose_at_step_12()
    # A first loss may be for the moment.
    await read_until(call, lambda event: isinstance(event, JobDelayed))
    a = await site.fleet.add("a", ready=False)
    await lose_at_step_12()
    assert isinstance(await error_from(call), AgentsLostError)
    await site.fleet.add("a")
    assert isinstance((await events_of(site.generate()))[-1], ImageCompleted)


async def test_bad_input_names_its_field(site: Site) -> None:
    await site.fleet.add("a")
    error = await error_from(site.generate(ImageRequest(prompt="a red apple", width_px=63)))
    assert isinstance(error, InvalidArgumentError)
    assert [violation.field for violation in error.violations] == ["image.width_px"]
    unknown = await error_from(site.generate(ImageRequest(prompt="a red apple", model="none")))
    assert isinstance(unknown, NotFoundError)
    stub = image_service_pb2_grpc.ImageServiceStub(site.channel)
    assert isinstance(await error_from(stub.Generate(image_service_pb2.GenerateRequest())), InvalidArgumentError)


async def test_without_agents(site: Site) -> None:
    assert isinstance(await error_from(site.generate()), NoAgentsError)


async def test_a_plan_is_explained(site: Site) -> None:
    await site.fleet.add("a")
    await site.fleet.add("b")
    stub = image_service_pb2_grpc.ImageServiceStub(site.channel)
    request = image_service_pb2.ExplainPlanRequest(image=image_request_to_proto(REQUEST))
    response = await stub.ExplainPlan(request)
    explanation = EXPLANATION.from_proto(response.explanation)
    assert explanation.chosen.plan.agents == ("a", "b")
    assert [candidate.label for candidate in explanation.runners_up] == ["solo a"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ExplainPlan(image_service_pb2.ExplainPlanRequest())
    assert isinstance(error_of(caught.value), InvalidArgumentError)


async def test_agents_are_listed(site: Site) -> None:
    await site.fleet.add("b", ready=False)
    await site.fleet.add("a")
    stub = fleet_pb2_grpc.FleetServiceStub(site.channel)

    async def listed() -> list[tuple[AgentId, AgentState]]:
        response = await stub.ListAgents(fleet_pb2.ListAgentsRequest())
        return [(view.name, view.state) for view in map(AGENT.from_proto, response.agents)]

    while (found := await listed())[0][1] is not AgentState.READY:
        pass
    assert found == [("a", AgentState.READY), ("b", AgentState.LOADING)]


async def test_an_agent_is_drained_in_mid_image_and_put_back(site: Site) -> None:
    await site.fleet.add("a")
    await site.fleet.add("b")
    stub = fleet_pb2_grpc.FleetServiceStub(site.channel)

    async def drain(agent: str, *, undo: bool = False) -> AgentState:
        response = await stub.DrainAgent(fleet_pb2.DrainAgentRequest(agent=agent, undo=undo))
        return AGENT.from_proto(response.agent).state

    site.fleet.pause_at(8)
    call = site.generate()
    events = await read_until(call, is_at(8))
    plan = next(event for event in events if isinstance(event, ImagePlanned)).explanation.chosen.plan
    (leaving,) = set(plan.agents) - {plan.decoder}
    assert await drain(leaving) is AgentState.DRAINING
    await site.fleet.agents[leaving].has_seen(ExtendPlan)
    site.fleet.pause_at(None)
    events = await events_of(call)
    (replanned,) = [event for event in events if isinstance(event, ImageReplanned)]
    assert replanned.reason is ReplanReason.AGENT_DRAINED
    assert not any(segment.of(leaving).rows.count for segment in replanned.plan.segments)
    assert isinstance(events[-1], ImageCompleted)
    assert await drain(leaving) is AgentState.DRAINED
    assert await drain(leaving, undo=True) is AgentState.READY


@pytest.mark.parametrize(("agent", "error"), [("nobody", NotFoundError), ("", WireError)])
async def test_an_agent_that_does_not_exist_cannot_be_drained(
    site: Site, agent: str, error: type[PolyrhythmError]
) -> None:
    stub = fleet_pb2_grpc.FleetServiceStub(site.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.DrainAgent(fleet_pb2.DrainAgentRequest(agent=agent))
    assert error_of(caught.value).code is error.code


async def test_live_is_not_ready(site: Site) -> None:
    stub: Any = health_pb2_grpc.HealthStub(site.channel)
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=IMAGE_SERVICE))
    assert (await watch.read()).status == not_serving
    agent = await site.fleet.add("a")
    assert (await watch.read()).status == serving
    await agent.vanish()
    assert (await watch.read()).status == not_serving
    watch.cancel()
    for service in ("", FLEET_SERVICE, AGENT_SERVICE):
        assert (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status == serving


REFLECTION = ("v1", "v1alpha")


async def reflected(site: Site, version: str, **question: Any) -> reflection_pb2.ServerReflectionResponse:
    """What a tool without any .proto file is told; either version writes the same bytes."""
    call = site.channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")(
        timeout=WAIT_S
    )
    await call.write(reflection_pb2.ServerReflectionRequest(**question).SerializeToString())
    content = await call.read()
    call.cancel()
    assert isinstance(content, bytes)
    return reflection_pb2.ServerReflectionResponse.FromString(content)


@pytest.mark.parametrize("version", REFLECTION)
async def test_services_can_be_asked_for(site: Site, version: str) -> None:
    response = await reflected(site, version, list_services="")
    names = [service.name for service in response.list_services_response.service]
    assert names == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "polyrhythm.agent.v1.AgentService",
        "polyrhythm.v1.FleetService",
        "polyrhythm.v1.ImageService",
    ]


@pytest.mark.parametrize("version", REFLECTION)
async def test_a_service_can_be_called_by_nothing_but_what_it_says_of_itself(site: Site, version: str) -> None:
    await site.fleet.add("a")
    pool = descriptor_pool.DescriptorPool()
    for service in (f"grpc.reflection.{version}.ServerReflection", "polyrhythm.v1.FleetService"):
        response = await reflected(site, version, file_containing_symbol=service)
        files = map(FileDescriptorProto.FromString, response.file_descriptor_response.file_descriptor_proto)
        add_files(pool, {file.name: file for file in files})
    (method,) = (
        method for method in pool.FindServiceByName("polyrhythm.v1.FleetService").methods if method.name == "ListAgents"
    )
    (info,) = pool.FindServiceByName(f"grpc.reflection.{version}.ServerReflection").methods
    assert info.input_type.full_name == f"grpc.reflection.{version}.ServerReflectionRequest"
    asked, answered = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
    content = await site.channel.unary_unary("/polyrhythm.v1.FleetService/ListAgents")(asked().SerializeToString())
    answer: Any = answered.FromString(content)
    assert [agent.name for agent in answer.agents] == ["a"]


def add_files(pool: descriptor_pool.DescriptorPool, files: dict[str, FileDescriptorProto]) -> None:
    """Adds files to a pool, each after those that it needs."""
    order = TopologicalSorter({name: file.dependency for name, file in files.items()})
    for name in order.static_order():
        pool.AddSerializedFile(files[name].SerializeToString())


async def test_a_name_is_taken_only_once(site: Site) -> None:
    await site.fleet.add("a")
    with pytest.raises(AlreadyInUseError):
        await site.fleet.add("a")


async def test_another_protocol_is_refused(site: Site) -> None:
    agent = FakeAgent(site.fleet, FakeWorker(AgentId("old"), site.fleet.fabric))
    with pytest.raises(InvalidArgumentError):
        await agent.connect(register(AgentId("old"), protocol_version=99))
    await agent.close()


GARBAGE = b"\xff\xff\xff\xff"


@pytest.mark.parametrize(
    "method",
    [
        "polyrhythm.v1.ImageService/Generate",
        "polyrhythm.v1.ImageService/ExplainPlan",
        "polyrhythm.v1.FleetService/DrainAgent",
        "grpc.health.v1.Health/Check",
        "polyrhythm.agent.v1.AgentService/Session",
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
async def test_bytes_that_are_no_message_are_the_callers_fault(site: Site, method: str) -> None:
    async def garbage() -> AsyncIterator[bytes]:
        yield GARBAGE

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in site.channel.stream_stream(f"/{method}")(garbage(), timeout=WAIT_S):
            pass
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("place", ["[::1]", "unix"])
async def test_clients_and_agents_reach_a_coordinator_by_ipv6_and_by_a_socket(place: str, tmp_path: Path) -> None:
    settings = make_settings(host=f"unix:{tmp_path}/p.sock") if place == "unix" else make_settings(host=place, port=0)
    async with coordinator(settings, Limits()) as server:
        fleet = FakeFleet(server.address)
        await fleet.add("a")
        async with AsyncClient(server.address) as client:
            assert [view.name for view in await client.agents()] == ["a"]
        await fleet.close()
