"""An agent daemon with a worker that misbehaves on demand, and its session with a coordinator played by hand."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from polyrhythm.ids import AgentId, EpochId, GangId, JobId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.facts import DeviceFacts, DeviceKind, SoftwareVersion
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Assignment, Exchange, Segment
from polyrhythm.plan.rows import RowRange
from polyrhythm.session.commands import CountTokens, StartEpoch
from polyrhythm.session.events import PROTOCOL_VERSION, EpochJoined, Register, WorkerReady
from polyrhythm_agent.daemon.coordinator_link import LinkTiming
from polyrhythm_agent.daemon.main import AgentParts, run_agent
from polyrhythm_agent.daemon.rules.state import Limits
from tests.fakes.agent_service import WAIT_S, FakeAgentService, Session

FAKE_WORKER = Path(__file__).parents[1] / "fakes" / "worker_process.py"
AGENT = AgentId("a")
EPOCH = EpochId(incarnation=1, counter=1)
REGISTRATION = Register(
    agent=AGENT,
    protocol_version=PROTOCOL_VERSION,
    software=(SoftwareVersion(name="python", version="3"),),
    device=DeviceFacts(uuid="CPU-1", name="cpu", kind=DeviceKind.CPU, memory_total_bytes=2, memory_free_bytes=1),
)
LIMITS = Limits(start_s=20.0, heartbeat_s=0.4, abort_s=0.1, alone_extra_s=0.0, leave_s=2.0, first_restart_s=0.01)
TIMING = LinkTiming(first_retry_s=0.01, longest_retry_s=0.05)


@dataclass(slots=True)
class Agent:
    """A running agent."""

    task: asyncio.Task[None]
    stop: asyncio.Event

    async def end(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, WAIT_S)


def parts_of(port: int, *worker_options: str, **changes: object) -> AgentParts:
    parts = AgentParts(
        coordinator=f"127.0.0.1:{port}",
        registration=REGISTRATION,
        worker_command=(sys.executable, str(FAKE_WORKER), *worker_options),
        worker_environment=os.environ,
        pin_core=None,
        limits=LIMITS,
        timing=TIMING,
        connect_timeout_s=None,
        lifeline_fd=None,
    )
    return replace(parts, **changes)


@asynccontextmanager
async def running(parts: AgentParts) -> AsyncIterator[Agent]:
    stop = asyncio.Event()
    agent = Agent(task=asyncio.create_task(run_agent(parts, stop)), stop=stop)
    try:
        yield agent
    finally:
        agent.task.cancel()
        await asyncio.wait([agent.task])
        assert worker_processes() == []


def worker_processes() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and str(FAKE_WORKER) in child.cmdline()
    ]


def start_epoch(epoch: EpochId = EPOCH) -> StartEpoch:
    image = ImageSpec(
        model="demo", prompt="p", width_px=64, height_px=64, steps=20, seed=1, guidance=5.0, sampler=Sampler.DDIM,
        quality=Quality.EXACT,
    )  # fmt: skip
    segment = Segment(
        begin_step=0, end_step=20, beat_steps=1, exchange=Exchange.SYNCHRONOUS,
        assignments=(Assignment(agent=AGENT, rows=RowRange(begin=0, end=8)),),
    )  # fmt: skip
    return StartEpoch(
        epoch=epoch, gang=GangId("g"), members=(AGENT,), job=JobId("j"), image=image, begin_step=0, root=AGENT,
        decoder=AGENT, plan_version=1, segments=(segment,), complete=True, step_timeout_s=30.0,
        uninterruptible_s=0.01, exchange_dtype="float32",
    )  # fmt: skip


def tell(*texts: str, request_id: int = 1) -> CountTokens:
    """What the fake worker obeys."""
    return CountTokens(request_id=request_id, model="demo", texts=texts, sampler=Sampler.DDIM, steps=4)


async def ready_session(service: FakeAgentService) -> Session:
    session = await service.next_session()
    assert await session.hear(Register) == REGISTRATION
    await session.hear(WorkerReady)
    return session


async def in_epoch(service: FakeAgentService) -> Session:
    session = await ready_session(service)
    session.say(start_epoch())
    await session.hear(EpochJoined)
    return session
