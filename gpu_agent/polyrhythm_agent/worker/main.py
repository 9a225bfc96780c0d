"""The worker process: one device, torch, no network but the gang's. Composition root of denoiser and exchange.

Speaks the agent protocol over an inherited socketpair: commands down, events up. Exits at once when the channel ends,
so that no worker outlives its daemon.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch

from polyrhythm.errors import PolyrhythmError
from polyrhythm.ids import AgentId, GangId
from polyrhythm.plan.profile import Profile
from polyrhythm.process.log_setup import log_to_stderr
from polyrhythm.session.commands import MeasureProfile
from polyrhythm.session.events import WorkerLost, WorkerReady
from polyrhythm.session.rendezvous import StoreOperation
from polyrhythm_agent.calibration.file import with_calibration
from polyrhythm_agent.denoiser.files.checkpoint import diffusers_folder
from polyrhythm_agent.denoiser.loading import DTYPES, exchange_dtype_of
from polyrhythm_agent.denoiser.model_code import model_code
from polyrhythm_agent.epoch.boundary_state import JobMemory
from polyrhythm_agent.epoch.gang_cache import FormTransport, Gang, GangCache
from polyrhythm_agent.epoch.step_loop import Exchange
from polyrhythm_agent.epoch.worker_context import WorkerContext
from polyrhythm_agent.exchange.session import GangExchange
from polyrhythm_agent.exchange.transports.in_process import InProcessNetwork
from polyrhythm_agent.exchange.transports.torch_distributed import form_gloo_transport
from polyrhythm_agent.host.dtypes import device_of, dtype_for
from polyrhythm_agent.measuring.busy_clock import BusyClock, CpuBusyClock, DeviceBusyClock, UntimedExchange
from polyrhythm_agent.measuring.emulated_speed import EmulatedExchange, EmulatedSpeed
from polyrhythm_agent.measuring.profile import measure_profile
from polyrhythm_agent.measuring.stop import MeasuringStop
from polyrhythm_agent.memory.device_memory import memory_of
from polyrhythm_agent.memory.parts_in_memory import PartsInMemory, held_bytes
from polyrhythm_agent.model_files.known_words import KnownWords, read_known_words
from polyrhythm_agent.ports.blocks import BlockObserver
from polyrhythm_agent.ports.denoiser import Denoiser
from polyrhythm_agent.ports.exchange import ActivationExchange
from polyrhythm_agent.ports.layers import Geometry
from polyrhythm_agent.ports.transport import Transport
from polyrhythm_agent.worker.channel import EXIT_CANNOT_LOAD, WorkerChannel, end_process, end_with_daemon
from polyrhythm_agent.worker.command_loop import CommandLoop
from polyrhythm_agent.worker.load_model import load_as_it_fits
from polyrhythm_agent.worker.loading_progress import LoadingSigns
from polyrhythm_agent.worker.rendezvous_relay import RendezvousRelay
from polyrhythm_agent.worker.settings import WorkerSettings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast this device runs on purpose, how its computing is measured, and what it loses to messages."""

    observer: BlockObserver
    around_exchange: Callable[[ActivationExchange], ActivationExchange]
    busy_clock: BusyClock
    handling_share: float


def make_pace(settings: WorkerSettings, device: torch.device) -> Pace:
    """On a CPU layers are timed by CPU time and slowed to the emulated speed; on CUDA the device is timed."""
    if device.type == "cuda":
        clock = DeviceBusyClock()
        return Pace(
            observer=clock,
            around_exchange=lambda exchange: UntimedExchange(exchange=exchange, clock=clock),
            busy_clock=clock,
            handling_share=0.0,
        )
    share = settings.emulate_speed or 1.0
    speed = EmulatedSpeed(speed=share)
    cores = 1 if settings.pin_core is not None else os.cpu_count() or 1
    return Pace(
        observer=speed,
        around_exchange=lambda exchange: EmulatedExchange(exchange=exchange, speed=speed),
        busy_clock=CpuBusyClock(speed=speed),
        # Messages that come while an emulated device sleeps cost it nothing.
        handling_share=share if settings.threads >= cores else 0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GangRendezvous:
    """The rendezvous of one gang, through the relay."""

    gang: GangId
    relay: RendezvousRelay

    def call(self, operation: StoreOperation, key: str, value: bytes, amount: int) -> tuple[bytes, bool]:
        """One store operation; see the relay."""
        return self.relay.call(self.gang, operation, key, value, amount)


def make_former(settings: WorkerSettings, relay: RendezvousRelay) -> FormTransport:
    """Forms gangs over Gloo; a gang of one needs no sockets."""

    def form(gang: GangId, rank: int, size: int) -> Transport:
        if size == 1:
            return InProcessNetwork(1).transport(0)
        rendezvous = GangRendezvous(gang=gang, relay=relay)
        return form_gloo_transport(rank=rank, size=size, rendezvous=rendezvous, bind_address=settings.bind_address)

    return form


def make_exchange_opener(
    device: torch.device, denoiser: Denoiser
) -> Callable[[Gang, Geometry, str], AbstractContextManager[Exchange]]:
    """Opens the data plane of an epoch on a formed gang."""

    def open_exchange(gang: Gang, geometry: Geometry, exchange_dtype: str) -> AbstractContextManager[Exchange]:
        return GangExchange(
            transport=gang.transport,
            members=gang.members,
            geometry=geometry,
            device=device,
            activation_dtype=exchange_dtype_of(exchange_dtype, denoiser),
            state_dtype=denoiser.state_dtype,
        )

    return open_exchange


def make_command_loop(
    settings: WorkerSettings, channel: WorkerChannel, denoiser: Denoiser, known_words: KnownWords | None
) -> CommandLoop:
    """Wires everything that a worker consists of."""
    agent = AgentId(settings.agent)
    device = torch.device(settings.device)
    pace = make_pace(settings, device)
    relay = RendezvousRelay(send=channel.send)
    device_memory = memory_of(
        device,
        weights_bytes=lambda: denoiser.facts.resident_bytes + held_bytes(denoiser.parts),
        limit_bytes=settings.memory_limit_bytes,
    )
    parts = PartsInMemory(denoiser.parts, device_memory)
    context = WorkerContext(
        agent=agent,
        denoiser=denoiser,
        observer=pace.observer,
        around_exchange=pace.around_exchange,
        busy_clock=pace.busy_clock,
        gangs=GangCache(agent=agent, form=make_former(settings, relay), handling_share=pace.handling_share),
        memory=JobMemory(),
        device_memory=device_memory,
        parts=parts,
        open_exchange=make_exchange_opener(device, denoiser),
        open_rendezvous=relay.open,
        abort_rendezvous=relay.abort,
        tell=channel.send,
    )

    def measure(command: MeasureProfile, stop: MeasuringStop) -> Profile:
        return measure_profile(agent, command, denoiser, pace.observer, pace.around_exchange, parts, stop)

    return CommandLoop(context=context, rendezvous=relay, measure=measure, tell=channel.send, known_words=known_words)


def main() -> None:
    """Runs one worker; started by its daemon only, by way of ``start``."""
    parser = argparse.ArgumentParser(prog="polyrhythm-worker", description="Started by polyrhythm-agent, not by hand.")
    parser.add_argument("--channel-fd", type=int, required=True, help="inherited socket to the daemon")
    parser.add_argument("--daemon-pid", type=int, required=True, help="process to end with")
    parser.add_argument("--settings", type=WorkerSettings.from_json, required=True, help="settings as JSON")
    arguments = parser.parse_args()
    settings: WorkerSettings = arguments.settings
    log_to_stderr(agent=settings.agent)
    end_with_daemon(arguments.daemon_pid)
    torch.set_num_threads(settings.threads)
    channel = WorkerChannel(arguments.channel_fd)
    try:
        with model_code():
            folder = diffusers_folder(
                Path(settings.model_path),
                None if settings.model_configs_path is None else Path(settings.model_configs_path),
                cache=Path(settings.cache_path),
                progress=LoadingSigns(channel.send),
            )
            known_words = read_known_words(folder)
            device = torch.device(settings.device)
            denoiser = load_as_it_fits(
                folder,
                model=settings.model,
                dtype=DTYPES[dtype_for(settings.dtype, device_of(device))],
                device=device,
                offload=settings.offload,
                limit_bytes=settings.memory_limit_bytes,
            )
    except PolyrhythmError as error:
        log.error("model cannot be loaded", reason=str(error))
        channel.send(WorkerLost(reason=str(error)))
        sys.exit(EXIT_CANNOT_LOAD)
    loop = make_command_loop(settings, channel, denoiser, known_words)
    channel.listen(loop.accept, end_process)
    channel.tell_with_heartbeats(loop.read_memory)
    channel.send(WorkerReady(models=(with_calibration(denoiser.facts, folder),)))
    if (memory := loop.read_memory()) is not None:
        channel.send(memory)
    loop.compute_forever()
