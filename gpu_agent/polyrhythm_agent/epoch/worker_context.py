"""What every epoch of a worker uses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from polyrhythm.ids import AgentId
from polyrhythm.session.events import AgentEvent
from polyrhythm_agent.epoch.boundary_state import JobMemory
from polyrhythm_agent.epoch.gang_cache import Gang, GangCache
from polyrhythm_agent.epoch.step_loop import Exchange
from polyrhythm_agent.measuring.busy_clock import BusyClock
from polyrhythm_agent.memory.device_memory import DeviceMemory
from polyrhythm_agent.memory.parts_in_memory import PartsInMemory
from polyrhythm_agent.ports.blocks import BlockObserver
from polyrhythm_agent.ports.denoiser import Denoiser
from polyrhythm_agent.ports.exchange import ActivationExchange
from polyrhythm_agent.ports.layers import Geometry


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerContext:
    """What every epoch of a worker uses.

    Attributes:
        agent: this agent.
        denoiser: the model.
        observer: told of every block.
        around_exchange: what surrounds the exchange inside a forward, such as an emulated speed's pause.
        busy_clock: of this device.
        gangs: formed process groups.
        memory: what is kept between epochs of a job.
        device_memory: what this worker computes in.
        parts: of the model, in that memory or not.
        open_exchange: the data plane of an epoch on a formed gang, given the name of its exchange dtype.
        open_rendezvous: lets store operations block again; called before a gang is formed.
        abort_rendezvous: wakes whoever is blocked on the rendezvous store.
        tell: sends an event to the daemon.
    """

    agent: AgentId
    denoiser: Denoiser
    observer: BlockObserver
    around_exchange: Callable[[ActivationExchange], ActivationExchange]
    busy_clock: BusyClock
    gangs: GangCache
    memory: JobMemory
    device_memory: DeviceMemory
    parts: PartsInMemory
    open_exchange: Callable[[Gang, Geometry, str], AbstractContextManager[Exchange]]
    open_rendezvous: Callable[[], None]
    abort_rendezvous: Callable[[str], None]
    tell: Callable[[AgentEvent], None]
