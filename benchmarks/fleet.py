"""Starts the fleets that benchmarks measure: the product's own processes, each device pinned to a core."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import psutil
from busy_core import BusyCore
from latency_study.cases import Load
from latency_study.summary import CoreTime

from polyrhythm.fleet import AgentView
from polyrhythm.job.events import JobEvent
from polyrhythm.job.image import ImageRequest
from polyrhythm.plan.explanation import Explanation
from polyrhythm_agent.daemon.main import WORKER_MODULE
from polyrhythm_client import AsyncClient
from polyrhythm_client.local.fleet import LocalFleet
from polyrhythm_client.local.layout import FleetLayout, cores_by_share, emulated_layout
from polyrhythm_client.pictures import Picture


class TooFewCoresError(ValueError):
    """Pinned devices would take each other's time on a core, and measure each other."""


class PinnedFleet:
    """A running fleet, and what the kernel knows of its processes.

    Args:
        client: connected to it.
        pids: of the coordinator and the agents, in this order.
        load: beside one of the devices; None for none.
    """

    def __init__(self, client: AsyncClient, pids: Sequence[int], load: BusyCore | None = None) -> None:
        self.pids = tuple(pids)
        self._client = client
        self._load = load

    async def agents(self) -> tuple[AgentView, ...]:
        """Lists the connected agents."""
        return await self._client.agents()

    async def explain(self, request: ImageRequest) -> Explanation:
        """Says how a request would be run."""
        return await self._client.explain(request)

    async def picture(self, request: ImageRequest, on_event: Callable[[JobEvent], None] = lambda _: None) -> Picture:
        """Makes one picture."""
        return await self._client.picture(request, on_event)

    def core_times(self) -> tuple[CoreTime, ...]:
        """What the kernel has given to each device's compute thread so far."""
        return tuple(_core_time(process.pid) for pid in self.pids[1:] for process in _workers(pid))

    def core_wait_s(self) -> float:
        """Seconds so far in which compute threads could have run but did not have their core, all devices together."""
        return sum(time.queued_s for time in self.core_times())

    def set_load(self, *, running: bool) -> None:
        """Lets the load run or stand still; nothing where there is none."""
        if self._load is not None:
            self._load.set_running(running=running)


@asynccontextmanager
async def pinned_fleet(speeds: Sequence[float], model: str, *, load: Load | None = None) -> AsyncIterator[PinnedFleet]:
    """A coordinator and one single-threaded agent a speed, each worker on a core of its own or with room on one.

    Args:
        speeds: shares of the true speed; 1 runs freely.
        model: name of one that ships, or a folder in diffusers format.
        load: on the core of one of the devices, running as soon as all are ready; None for none.

    Raises:
        TooFewCoresError: the shares do not fit on the cores that this process may use.
        PolyrhythmError: the fleet does not start.
    """
    cores = sorted(os.sched_getaffinity(0))
    pins = cores_by_share(speeds, cores)
    if pins is None:
        raise TooFewCoresError(f"devices of {speeds} do not fit on {len(cores)} cores")
    layout = FleetLayout(agents=emulated_layout(speeds, cores), model=model)
    with ExitStack() as stack:
        busy = stack.enter_context(BusyCore(pins[load.device], load.share)) if load is not None else None
        async with LocalFleet(layout) as fleet, AsyncClient(fleet.address) as client:
            pinned = PinnedFleet(client, fleet.pids, busy)
            pinned.set_load(running=True)
            yield pinned


def _workers(daemon_pid: int) -> list[psutil.Process]:
    children = psutil.Process(daemon_pid).children()
    return [child for child in children if WORKER_MODULE in child.cmdline()]


def _core_time(pid: int) -> CoreTime:
    """First fields of schedstat of a process's main thread, in nanoseconds. All 0 where the kernel keeps none."""
    source = Path(f"/proc/{pid}/schedstat")
    if not source.is_file():
        return CoreTime(ran_s=0.0, queued_s=0.0)
    ran_ns, queued_ns, _ = source.read_text(encoding="ascii").split()
    return CoreTime(ran_s=int(ran_ns) / 1e9, queued_s=int(queued_ns) / 1e9)
