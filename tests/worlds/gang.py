"""A gang in one process: the real step loop, exchange and denoiser of every member, a thread each.

Only the process and the coordinator are missing; the transport is handed in, so that the same picture can be made
over the in-process network and over Gloo.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from polyrhythm.ids import AgentId, EpochId
from polyrhythm.job.image import ImageSpec
from polyrhythm.plan.plan import Plan
from polyrhythm.plan.rows import RowRange
from polyrhythm.session.events import AgentEvent, BeatDone
from polyrhythm_agent.denoiser.layers.solo import NoObserver, SoloExchange
from polyrhythm_agent.denoiser.loading import exchange_dtype_of, load_denoiser
from polyrhythm_agent.epoch.boundary_state import NO_HISTORY, BoundaryState
from polyrhythm_agent.epoch.plan_book import PlanBook
from polyrhythm_agent.epoch.step_loop import Exchange, LoopIdentity, StepLoop, StopRequest, accept_every_step
from polyrhythm_agent.exchange.session import GangExchange
from polyrhythm_agent.exchange.transports.in_process import InProcessNetwork
from polyrhythm_agent.measuring.busy_clock import CpuBusyClock
from polyrhythm_agent.measuring.emulated_speed import EmulatedSpeed
from polyrhythm_agent.ports.blocks import BlockObserver
from polyrhythm_agent.ports.denoiser import Denoiser, DenoiserRun
from polyrhythm_agent.ports.step_judge import StepJudge
from polyrhythm_agent.ports.transport import Transport
from tests.worlds.one_core import one_core

EPOCH = EpochId(incarnation=1, counter=1)
JOIN_TIMEOUT_S = 100.0


@dataclass(slots=True)
class MemberRun:
    """What one member did.

    Attributes:
        states: by step, every boundary that it held.
        events: all that it told.
        error: what ended it, if anything did.
        predicted_bytes: what the plan says it sends in all beats.
    """

    states: dict[int, BoundaryState] = field(default_factory=dict)
    events: list[AgentEvent] = field(default_factory=list)
    error: BaseException | None = None
    predicted_bytes: int = 0

    @property
    def sent_bytes(self) -> int:
        return sum(event.report.sent_bytes for event in self.events if isinstance(event, BeatDone))


@dataclass(slots=True)
class GangOptions:
    """What a test may change.

    Attributes:
        transports: one a rank; an in-process network without delays if None.
        observer: made for each member.
        judge: made for each member.
        wrap: puts something around a member's exchange, such as a planted defect.
        start: the state to begin with in place of noise.
        start_order_seed: of the order in which members start.
        stops: by agent, where a test asks it to stop.
        newer: plans that each member gets in mid-image, with the boundary at which they reach it.
        exchange_dtype: in which activations travel; each member's own if None.
        keep_errors: whether what ends a member stays with its run instead of being raised.
    """

    transports: tuple[Transport, ...] | None = None
    observer: Callable[[AgentId], BlockObserver] = lambda _agent: NoObserver()
    judge: Callable[[AgentId], StepJudge] = lambda _agent: accept_every_step
    wrap: Callable[[AgentId, Exchange], Exchange] = lambda _agent, exchange: exchange
    start: BoundaryState | None = None
    start_order_seed: int = 0
    stops: Mapping[AgentId, StopRequest] = field(default_factory=dict)
    newer: Mapping[AgentId, Mapping[int, Plan]] = field(default_factory=dict)
    exchange_dtype: str | None = None
    keep_errors: bool = False


def load_members(folder: Path, agents: tuple[AgentId, ...], dtype: torch.dtype) -> dict[AgentId, Denoiser]:
    """A denoiser of its own for every member: attention holds the picture's state, so they cannot share one."""
    return {agent: load_denoiser(folder, model="tiny", dtype=dtype) for agent in agents}


def kept_members(folder: Path, agents: tuple[AgentId, ...], dtype: torch.dtype) -> dict[AgentId, Denoiser]:
    """The same, kept from picture to picture as an agent keeps its own; for tests that change nothing about them."""
    return {agent: _kept_denoiser(folder, dtype, place) for place, agent in enumerate(agents)}


@lru_cache(maxsize=64)
def _kept_denoiser(folder: Path, dtype: torch.dtype, place: int) -> Denoiser:
    return load_denoiser(folder, model="tiny", dtype=dtype)


@torch.inference_mode()
def solo_latent(run: DenoiserRun, steps: int) -> Tensor:
    """The clean latent of one device on its own, without step loop and exchange."""
    rows = RowRange(begin=0, end=run.geometry.row_count)
    x_BCHW = run.initial_noise()
    x0_BCHW, history = torch.full_like(x_BCHW, float("nan")), [-1] * rows.end
    for step in range(steps):
        prediction_BCHW = run.predict(x_BCHW, step, rows, SoloExchange(), NoObserver())
        x_BCHW, x0_BCHW = run.advance(x_BCHW, prediction_BCHW, step, step + 1, x0_BCHW, history, rows=rows)
        history = [step] * rows.end
    return x_BCHW


def run_gang(
    plan: Plan, denoisers: Mapping[AgentId, Denoiser], image: ImageSpec, options: GangOptions | None = None
) -> dict[AgentId, MemberRun]:
    """Denoises one picture by a plan; raises the first member's error, if any, unless errors are kept."""
    options = options or GangOptions()
    for denoiser in denoisers.values():
        for part in denoiser.parts:
            part.load()  # the libraries change the whole process meanwhile, so not in the members' threads
    network = InProcessNetwork(len(plan.agents))
    transports = options.transports or tuple(network.transport(rank) for rank in range(len(plan.agents)))
    runs = {agent: MemberRun() for agent in plan.agents}
    threads = [
        threading.Thread(
            target=_member,
            args=(plan, agent, denoisers[agent], image, transports[rank], options, runs[agent]),
            name=agent,
            daemon=True,
        )
        for rank, agent in enumerate(plan.agents)
    ]
    with one_core():
        for thread in random.Random(options.start_order_seed).sample(threads, len(threads)):
            thread.start()
    for thread in threads:
        thread.join(timeout=JOIN_TIMEOUT_S)
    stuck = [thread.name for thread in threads if thread.is_alive()]
    if stuck:
        for transport in transports:
            transport.abort()
        raise TimeoutError(f"members are stuck: {stuck}")
    for run in runs.values():
        if run.error is not None and not options.keep_errors:
            raise run.error
    return runs


def _member(
    plan: Plan,
    agent: AgentId,
    denoiser: Denoiser,
    image: ImageSpec,
    transport: Transport,
    options: GangOptions,
    member: MemberRun,
) -> None:
    try:
        with torch.inference_mode():
            _denoise(plan, agent, denoiser, image, transport, options, member)
    except BaseException as error:  # noqa: BLE001 - handed to the test's thread
        member.error = error
        transport.abort()


def _denoise(
    plan: Plan,
    agent: AgentId,
    denoiser: Denoiser,
    image: ImageSpec,
    transport: Transport,
    options: GangOptions,
    member: MemberRun,
) -> None:
    run = denoiser.start(image, denoiser.encode(image))
    noise_BCHW = run.initial_noise()
    state = options.start or BoundaryState(
        step=0,
        x_BCHW=noise_BCHW,
        x0_BCHW=torch.zeros_like(noise_BCHW),
        history_steps=(NO_HISTORY,) * run.geometry.row_count,
    )
    gang_exchange = GangExchange(
        transport=transport,
        members=plan.agents,
        geometry=run.geometry,
        device=noise_BCHW.device,
        activation_dtype=exchange_dtype_of(options.exchange_dtype or denoiser.facts.dtype, denoiser),
        state_dtype=denoiser.state_dtype,
    )
    beats = (*plan.beats(), None)
    member.predicted_bytes = sum(
        gang_exchange.predicted_bytes(beat, following) for beat, following in pairwise(beats) if beat is not None
    )
    book = PlanBook(version=plan.version, segments=plan.segments, complete=True)
    newer = options.newer.get(agent, {})

    def tell(event: AgentEvent) -> None:
        member.events.append(event)
        if isinstance(event, BeatDone) and (later := newer.get(event.report.boundary_step)) is not None:
            book.extend(version=later.version, segments=later.segments, complete=True)

    with gang_exchange:
        StepLoop(
            identity=LoopIdentity(agent=agent, epoch=EPOCH),
            run=run,
            exchange=options.wrap(agent, gang_exchange),
            book=book,
            plan_version=plan.version,
            state=state,
            observer=options.observer(agent),
            around_exchange=lambda inner: inner,
            busy_clock=CpuBusyClock(speed=EmulatedSpeed(speed=1.0)),
            stop=options.stops.get(agent, StopRequest()),
            tell=tell,
            keep=lambda kept: member.states.__setitem__(kept.step, kept),
            judge=options.judge(agent),
        ).denoise()
