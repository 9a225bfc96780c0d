"""Starts the fleets that benchmarks measure: the product's own processes, each device pinned to a core of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from polyrhythm_client.client import Client
from polyrhythm_client.local.fleet import FleetLayout, LocalFleet
from polyrhythm_client.local.layout import emulated_layout


class TooFewCoresError(ValueError):
    """Pinned devices would share a core, and measure each other."""


@asynccontextmanager
async def pinned_fleet(speeds: Sequence[float], model: str) -> AsyncIterator[tuple[Client, LocalFleet]]:
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
        yield client, fleet
