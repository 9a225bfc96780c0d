"""A worker's command loop on a bench: epochs of one member run on the thread of the test, without any process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from polyrhythm.ids import AgentId, EpochId, GangId, JobId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.profile import Link, Profile
from polyrhythm.session.commands import MeasureProfile, StartEpoch
from polyrhythm.session.events import AgentEvent, ImageMade
from polyrhythm_agent.denoiser.loading import exchange_dtype_of
from polyrhythm_agent.epoch.boundary_state import JobMemory
from polyrhythm_agent.epoch.gang_cache import Gang, GangCache
from polyrhythm_agent.epoch.worker_context import WorkerContext
from polyrhythm_agent.exchange.session import GangExchange
from polyrhythm_agent.exchange.transports.in_process import InProcessNetwork, InProcessTransport
from polyrhythm_agent.measuring.busy_clock import CpuBusyClock
from polyrhythm_agent.measuring.emulated_speed import EmulatedSpeed
from polyrhythm_agent.measuring.stop import MeasuringStop
from polyrhythm_agent.memory.device_memory import DeviceMemory, HostMemory
from polyrhythm_agent.memory.parts_in_memory import PartsInMemory
from polyrhythm_agent.model_files.known_words import KnownWords
from polyrhythm_agent.ports.denoiser import Denoiser
from polyrhythm_agent.ports.layers import Geometry
from polyrhythm_agent.worker.command_loop import CommandLoop
from polyrhythm_agent.worker.rendezvous_relay import RendezvousRelay
from tests.values.plans import exact_plan

STEPS = 6
ME = AgentId("agent-0")
PLAN = exact_plan(STEPS, (16,), beat_steps=2)


class Unprobed(InProcessTransport):
    """Whose peers say nothing, not even to have their links measured."""

    def probe_links(self) -> tuple[tuple[int, Link], ...]:
        return ()


class Bench:
    """A command loop without a process: commands in, tasks carried out on this thread, events collected."""

    def __init__(
        self,
        denoiser: Denoiser,
        on_event: Callable[[AgentEvent], None] = lambda _: None,
        *,
        device_memory: DeviceMemory | None = None,
        known_words: KnownWords | None = None,
        measure: Callable[[MeasureProfile, MeasuringStop], Profile] | None = None,
    ) -> None:
        self.events: list[AgentEvent] = []
        self.transports: list = []
        self.memory = JobMemory()

        def tell(event: AgentEvent) -> None:
            self.events.append(event)
            on_event(event)

        def form(gang: GangId, rank: int, size: int):  # noqa: ANN202
            self.transports.append(Unprobed(InProcessNetwork(size), rank))
            return self.transports[-1]

        def open_exchange(gang: Gang, geometry: Geometry, exchange_dtype: str) -> GangExchange:
            return GangExchange(
                transport=gang.transport,
                members=gang.members,
                geometry=geometry,
                device=torch.device("cpu"),
                activation_dtype=exchange_dtype_of(exchange_dtype, denoiser),
                state_dtype=denoiser.state_dtype,
            )

        device_memory = device_memory or HostMemory(weights_bytes=lambda: 0)
        relay = RendezvousRelay(send=tell)
        speed = EmulatedSpeed(speed=1.0)
        context = WorkerContext(
            agent=ME,
            denoiser=denoiser,
            observer=speed,
            around_exchange=lambda exchange: exchange,
            busy_clock=CpuBusyClock(speed=speed),
            gangs=GangCache(agent=ME, form=form, handling_share=1.0),
            memory=self.memory,
            device_memory=device_memory,
            parts=PartsInMemory(denoiser.parts, device_memory),
            open_exchange=open_exchange,
            open_rendezvous=relay.open,
            abort_rendezvous=relay.abort,
            tell=tell,
        )

        def not_asked(command: MeasureProfile, stop: MeasuringStop) -> Profile:
            raise AssertionError("not asked for here")

        self.loop = CommandLoop(
            context=context, rendezvous=relay, measure=measure or not_asked, tell=tell, known_words=known_words
        )

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


def start(counter: int = 1, *, begin_step: int = 0, gang: str = "g") -> StartEpoch:
    segment = replace(PLAN.segments[0], begin_step=begin_step)
    return StartEpoch(
        epoch=EpochId(incarnation=1, counter=counter),
        gang=GangId(gang),
        members=(ME,),
        job=JobId("job"),
        image=ImageSpec(
            model="tiny",
            prompt="a red apple",
            width_px=128,
            height_px=128,
            steps=STEPS,
            seed=1,
            guidance=4.0,
            sampler=Sampler.DPM_SOLVER_PP_2M,
            quality=Quality.EXACT,
        ),
        begin_step=begin_step,
        root=ME,
        decoder=ME,
        plan_version=1,
        segments=(segment,),
        complete=True,
        step_timeout_s=10.0,
        uninterruptible_s=1.0,
        exchange_dtype="float32",
    )


def picture(bench: Bench) -> bytes:
    return b"".join(part.data for part in bench.of(ImageMade))
