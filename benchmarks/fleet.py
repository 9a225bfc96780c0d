"""Starts the fleets that benchmarks measure: the product's own processes, each device pinned to a core of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from polyrhythm.explanation import Explanation
from polyrhythm.fleet import AgentView
from polyrhythm.image import ImageRequest
from polyrhythm.job_events import JobEvent
from polyrhythm_client.client import Client
from polyrhythm_client.local.fleet import FleetLayout, LocalFleet
from polyrhythm_client.local.layout import emulated_layout
from polyrhythm_client.pictures import Picture

WORKER_MODULE = "polyrhythm_agent.worker"


class TooFewCoresError(ValueError):
    """Pinned devices would share a core, and measure each other."""


class PinnedFleet:
    """A running fleet, and what the kernel knows of its processes.

    Args:
        client: connected to it.
        pids: of the coordinator and the agents, in this order.
    """

    def __init__(self, client: Client, pids: Sequence[int]) -> None:
        self.pids = tuple(pids)
        self._client = client

    async def agents(self) -> tuple[AgentView, ...]:
        """Lists the connected agents."""
        return await self._client.agents()

    async def explain(self, request: ImageRequest) -> Explanation:
        """Says how a request would be run."""
        return await self._client.explain(request)

    async def picture(self, request: ImageRequest, on_event: Callable[[JobEvent], None] = lambda _: None) -> Picture:
        """Makes one picture."""
        return await self._client.picture(request, on_event)

    def core_wait_s(self) -> float:
        """Seconds so far in which compute threads could have run but did not have their core, all devices together."""
        return sum(_queued_s(process.pid) for pid in self.pids[1:] for process in _workers(pid))


@asynccontextmanager
async def pinned_fleet(speeds: Sequence[float], model: str) -> AsyncIterator[PinnedFleet]:
    """A coordinator and one single-threaded agent a speed, each worker on a core of its own.

    Args:
        speeds: shares of the true speed; 1 runs freely.
        model: ``demo`` or a folder in diffusers format.

    Raises:
        TooFewCoresError: this process may use fewer cores than there are devices.
        PolyrhythmError: the fleet does not start.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < len(speeds):
        raise TooFewCoresError(f"{len(speeds)} devices need a core each, this process may use {len(cores)}")
    layout = FleetLayout(agents=emulated_layout(speeds, cores), model=model)
    async with LocalFleet(layout) as fleet, Client(fleet.address) as client:
        yield PinnedFleet(client, fleet.pids)


def _workers(daemon_pid: int) -> list[psutil.Process]:
    children = psutil.Process(daemon_pid).children()
    return [child for child in children if WORKER_MODULE in child.cmdline()]


def _queued_s(pid: int) -> float:
    """Second field of schedstat of a process's main thread: nanoseconds on the run queue. 0 where it is not kept."""
    source = Path(f"/proc/{pid}/schedstat")
    return int(source.read_text(encoding="ascii").split()[1]) / 1e9 if source.is_file() else 0.0
