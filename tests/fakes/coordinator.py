"""A coordinator without agents: speaks polyrhythm.v1, tells what it was told to tell, and remembers what it was asked.

Run as a program it stands in for ``polyrhythm-coordinator``: same options, same line when ready.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NoReturn

import grpc.aio

from polyrhythm.codec.explanation import EXPLANATION
from polyrhythm.codec.fleet import AGENT
from polyrhythm.codec.image import image_request_from_proto
from polyrhythm.codec.job import JOB_EVENT
from polyrhythm.codec.status import DETAILS_KEY, error_to_status
from polyrhythm.errors import NotFoundError, PolyrhythmError
from polyrhythm.fleet import AgentState, AgentView
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import (
    ImageChunk,
    ImageCompleted,
    ImagePlanned,
    ImagePreviewed,
    ImageProgressed,
    JobAccepted,
    JobEvent,
    JobQueued,
)
from polyrhythm.job.image import ImageRequest
from polyrhythm.job.reports import AgentUsage, JobReport, RowsHeld
from polyrhythm.job.request_checks import resolve
from polyrhythm.model.facts import DeviceFacts, DeviceKind, ModelFacts, SoftwareVersion
from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm.plan.explanation import AgentPrediction, Candidate, Exclusion, ExclusionReason, Explanation, Prediction
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.rows import RowRange
from polyrhythm.v1 import fleet_pb2, fleet_pb2_grpc, image_pb2, image_service_pb2, image_service_pb2_grpc
from polyrhythm_client.recipes.png import SIGNATURE
from tests.tiny_models.layer_groups import token_groups

FACTS = ModelFacts(
    name="demo",
    family="pixart",
    fingerprint="f00d",
    dtype="float32",
    samplers=(Sampler.DPM_SOLVER_PP_2M, Sampler.DDIM),
    default_width_px=128,
    default_height_px=128,
    default_steps=8,
    default_guidance=4.0,
    pixel_multiple=8,
    row_unit_px=8,
    pixels_max=256 * 256,
    token_limit=32,
    exchanged=token_groups(2, cell_bytes=32),
    token_px=8,
    latent_bytes_per_token=64,
    weights_bytes=1000,
    long_prompts=(LongPrompt.CUT, LongPrompt.CHUNK),
)
# An empty picture of one pixel: header, data and end chunks with their checksums.
PNG = SIGNATURE + bytes.fromhex(
    "0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636000000002000148afa471"
    "0000000049454e44ae426082"
)


def software(**versions: str) -> tuple[SoftwareVersion, ...]:
    held = {"polyrhythm": "0.1.0", "torch": "2.0", "threads": "1", **versions}
    return tuple(SoftwareVersion(name=name, version=version) for name, version in held.items())


def agent_view(name: str, speed: float | None = None, threads: int = 1) -> AgentView:
    device = DeviceFacts(
        uuid=f"cpu-{name}",
        name="a processor",
        kind=DeviceKind.CPU,
        memory_total_bytes=8 << 30,
        memory_free_bytes=4 << 30,
        emulated_speed=speed,
    )
    return AgentView(
        name=AgentId(name),
        state=AgentState.READY,
        device=device,
        models=(FACTS,),
        software=software(threads=str(threads)),
    )


AGENTS = (agent_view("local-0"), agent_view("local-1", 0.5))


def plan(agents: Sequence[str] = ("local-0", "local-1"), steps: int = 8, rows: int = 16) -> Plan:
    def share(index: int, stride: int) -> Assignment:
        begin, end = rows * index // len(agents), rows * (index + 1) // len(agents)
        return Assignment(agent=AgentId(agents[index]), rows=RowRange(begin=begin, end=end), stride=stride)

    def segment(begin_step: int, end_step: int, exchange: Exchange, last_stride: int) -> Segment:
        last = len(agents) - 1
        return Segment(
            begin_step=begin_step,
            end_step=end_step,
            beat_steps=2,
            exchange=exchange,
            assignments=tuple(share(index, last_stride if index == last else 1) for index in range(len(agents))),
        )

    return Plan(
        version=1,
        begin_step=0,
        steps=steps,
        segments=(segment(0, 4, Exchange.SYNCHRONOUS, 1), segment(4, steps, Exchange.DISPLACED, 2)),
        encoder=AgentId(agents[0]),
        decoder=AgentId(agents[0]),
    )


def explanation(chosen: Plan | None = None) -> Explanation:
    chosen = chosen or plan()
    shares = tuple(AgentPrediction(agent=agent, busy_s=1.0, wait_s=0.1, sent_bytes=2000) for agent in chosen.agents)
    prediction = Prediction(encode_s=0.1, denoise_s=1.2, decode_s=0.2, agents=shares)
    slower = Prediction(encode_s=0.1, denoise_s=2.0, decode_s=0.2, agents=shares[:1])
    return Explanation(
        chosen=Candidate(label="2 agents, strides 1, 2", plan=chosen, prediction=prediction),
        runners_up=(Candidate(label="solo local-0", plan=plan(("local-0",)), prediction=slower),),
        exclusions=(Exclusion(agent=AgentId("old"), reason=ExclusionReason.TOO_SLOW, message="0.1 of the fastest"),),
    )


def picture_events(request: ImageRequest, drawn_seed: int = 7, png: bytes = PNG) -> list[JobEvent]:
    """What a healthy fleet tells about a request."""
    image = resolve(request, FACTS, drawn_seed)
    followed = request.plan or plan(steps=image.steps)
    events: list[JobEvent] = [
        JobAccepted(job=JobId("job-1"), image=image, fingerprint=FACTS.fingerprint),
        JobQueued(position=0),
    ]
    for index in range(request.count):
        events.append(ImagePlanned(image_index=index, explanation=explanation(followed)))
        events += [
            ImageProgressed(image_index=index, step=step, steps=image.steps, left_s=1.0, agents=followed.agents)
            for step in range(1, image.steps + 1)
        ]
        if request.preview_every_steps:
            events.append(ImagePreviewed(image_index=index, step=4, png=png))
        half = len(png) // 2
        events += [
            ImageChunk(image_index=index, offset=0, data=png[:half], last=False),
            ImageChunk(image_index=index, offset=half, data=png[half:], last=True),
            ImageCompleted(report=report(followed, image.seed + index, index)),
        ]
    return events


def mixed(events: list[JobEvent]) -> list[JobEvent]:
    """The same pictures all at once: plans first, then progress, then files chunk by chunk, the last picture first."""

    def order(event: JobEvent) -> tuple[int, int, int]:
        match event:
            case ImagePlanned(image_index=index):
                return 1, index, 0
            case ImageProgressed(image_index=index, step=step):
                return 2, step, index
            case ImageChunk(image_index=index, offset=offset):
                return 3, offset, -index
            case ImageCompleted(report=made):
                return 4, -made.image_index, 0
            case _:
                return 0, 0, 0

    return sorted(events, key=order)


def report(followed: Plan, seed: int, index: int = 0) -> JobReport:
    return JobReport(
        job=JobId("job-1"),
        image_index=index,
        seed=seed,
        fingerprint=FACTS.fingerprint,
        plans=(followed,),
        agents=tuple(
            AgentUsage(
                agent=agent,
                device=view.device,
                dtype=FACTS.dtype,
                software=view.software,
                rows=tuple(
                    RowsHeld(begin_step=part.begin_step, end_step=part.end_step, rows=share.rows, stride=share.stride)
                    for part in followed.segments
                    for share in (part.of(agent),)
                ),
                steps=6,
                busy_s=1.0,
                wait_s=0.2,
                sent_bytes=4096,
                corrections=2 if agent == "local-1" else 0,
            )
            for agent in followed.agents
            for view in (agent_view(agent, 0.5 if agent == "local-1" else None),)
        ),
        encode_s=0.1,
        denoise_s=1.3,
        decode_s=0.2,
        queued_s=0.0,
        predicted_denoise_s=1.2,
    )


@dataclass(kw_only=True)
class FakeCoordinator(image_service_pb2_grpc.ImageServiceServicer, fleet_pb2_grpc.FleetServiceServicer):
    """Attributes say what it answers and what it was asked.

    Attributes:
        agents: connected to it.
        agents_at_work: connected to it from the next job on.
        error: every call ends with it.
        backwards: the pictures of a job are begun in order and end in the opposite one, their events mixed.
        png: what it hands out as a picture.
        stall: a job stops after its first event until its client leaves.
        drained_earlier: an agent that is drained and not connected.
        requests: that were asked for, in order.
        cancelled: set when a client leaves a stalled job.
    """

    agents: tuple[AgentView, ...] = AGENTS
    agents_at_work: tuple[AgentView, ...] | None = None
    error: PolyrhythmError | None = None
    backwards: bool = False
    png: bytes = PNG
    stall: bool = False
    drained_earlier: str = ""
    requests: list[ImageRequest] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def Generate(
        self, request: image_service_pb2.GenerateRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[image_service_pb2.GenerateResponse]:
        asked = await self._decode(request.image, context)
        self.agents = self.agents_at_work or self.agents
        events = picture_events(asked, png=self.png)
        for event in mixed(events) if self.backwards else events:
            yield JOB_EVENT.to_proto(event)
            if self.stall:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.cancelled.set()
                    raise
        await self._end(context)

    async def ExplainPlan(
        self, request: image_service_pb2.ExplainPlanRequest, context: grpc.aio.ServicerContext
    ) -> image_service_pb2.ExplainPlanResponse:
        asked = await self._decode(request.image, context)
        await self._end(context)
        return image_service_pb2.ExplainPlanResponse(explanation=EXPLANATION.to_proto(explanation(asked.plan)))

    async def ListAgents(
        self, request: fleet_pb2.ListAgentsRequest, context: grpc.aio.ServicerContext
    ) -> fleet_pb2.ListAgentsResponse:
        return fleet_pb2.ListAgentsResponse(agents=[AGENT.to_proto(view) for view in self.agents])

    async def DrainAgent(
        self, request: fleet_pb2.DrainAgentRequest, context: grpc.aio.ServicerContext
    ) -> fleet_pb2.DrainAgentResponse:
        names = tuple(view.name for view in self.agents)
        if request.agent not in (*names, self.drained_earlier):
            await refuse(context, NotFoundError("agent", request.agent, names))
        state = AgentState.READY if request.undo else AgentState.DRAINED
        self.agents = tuple(replace(view, state=state) if view.name == request.agent else view for view in self.agents)
        found = [AGENT.to_proto(view) for view in self.agents if view.name == request.agent]
        return fleet_pb2.DrainAgentResponse(agent=found[0] if found else None)

    async def _decode(self, proto: image_pb2.ImageRequest, context: grpc.aio.ServicerContext) -> ImageRequest:
        try:
            asked = image_request_from_proto(proto)
            if asked.model not in {"", FACTS.name}:
                raise NotFoundError("model", asked.model, (FACTS.name,))
            resolve(asked, FACTS, 0)
        except PolyrhythmError as error:
            await refuse(context, error)
        self.requests.append(asked)
        return asked

    async def _end(self, context: grpc.aio.ServicerContext) -> None:
        if self.error is not None:
            await refuse(context, self.error)


async def refuse(context: grpc.aio.ServicerContext, error: PolyrhythmError) -> NoReturn:
    code, message, details = error_to_status(error)
    await context.abort(code, message, ((DETAILS_KEY, details),))
    raise AssertionError("abort raises")


async def serve(fake: FakeCoordinator, host: str = "127.0.0.1", port: int = 0) -> tuple[grpc.aio.Server, str]:
    """Starts it; returns the server and its address."""
    server = grpc.aio.server()
    image_service_pb2_grpc.add_ImageServiceServicer_to_server(fake, server)
    fleet_pb2_grpc.add_FleetServiceServicer_to_server(fake, server)
    port = server.add_insecure_port(f"{host}:{port}")
    await server.start()
    return server, f"{host}:{port}"


@contextmanager
def serving(fake: FakeCoordinator) -> Generator[str]:
    """Runs it on a thread of its own, for tests that block; yields its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server, address = asyncio.run_coroutine_threadsafe(serve(fake), loop).result()
    try:
        yield address
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _serve_until_lifeline_ends(options: argparse.Namespace) -> None:
    names = [name for name in os.environ.get("FAKE_AGENTS", "").split(",") if name]
    fake = FakeCoordinator(agents=tuple(agent_view(name) for name in names))
    server, address = await serve(fake, options.host, options.port)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(options.lifeline_fd, ended.set)
    sys.stderr.write(f"logs what is {options.log_level} and above\n")
    sys.stdout.write(f"polyrhythm-coordinator ready on {address}\n")
    sys.stdout.flush()
    await ended.wait()
    await server.stop(None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--log-level")
    parser.add_argument("--lifeline-fd", type=int)
    asyncio.run(_serve_until_lifeline_ends(parser.parse_args()))
