"""Which fleet a command uses: the one at an address, the one that answers by default, or one of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from polyrhythm.errors import PolyrhythmError, UnreachableError
from polyrhythm_client.async_client import AsyncClient
from polyrhythm_client.cli.own_fleet import (
    FleetChoice,
    Note,
    choose_agents,
    loading_line,
    local_model,
    require_fleet,
)
from polyrhythm_client.local.fleet import LocalFleet
from polyrhythm_client.local.layout import FleetLayout
from polyrhythm_client.local.programs import INSTALLED, Executables

CONNECT_S = 0.5
ANSWER_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetInUse:
    """A fleet that answers.

    Attributes:
        address: of its coordinator.
        embedded: whether this command started it and will end it.
    """

    address: str
    embedded: bool


@asynccontextmanager
async def open_fleet(
    choice: FleetChoice, note: Note, executables: Executables = INSTALLED, *, progress: Note = lambda _: None
) -> AsyncGenerator[FleetInUse]:
    """Finds or starts the fleet; one that was started is gone when the context ends.

    Args:
        choice: what the user said.
        note: called with what was chosen and why, and with what goes wrong with an agent.
        executables: how a fleet of its own is started.
        progress: called with how far the start of a fleet of its own has come.

    Raises:
        PolyrhythmError: it cannot be started.
    """
    if choice.options.address is not None:
        yield FleetInUse(address=choice.options.address, embedded=False)
        return
    if not choice.options.of_own_fleet and await _answers(choice.default_address, note):
        note(f"using the fleet at {choice.default_address}")
        yield FleetInUse(address=choice.default_address, embedded=False)
        return
    require_fleet(own_port=True)
    model = local_model(choice)
    agents = await choose_agents(choice, executables, note)
    fleet = LocalFleet(
        FleetLayout(agents=agents, model=model, loading=choice.options.loading),
        executables=executables,
        on_change=lambda change: note(f"agent {change.agent} {change.message}") if change.trouble else None,
        on_loaded=lambda loaded: progress(loading_line(loaded, len(agents))),
    )
    async with fleet:
        try:
            yield FleetInUse(address=fleet.address, embedded=True)
        except UnreachableError as error:
            raise await fleet.coordinator_end() or error from error


async def _answers(address: str, note: Note) -> bool:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    try:
        async with AsyncClient(address, query_deadline_s=ANSWER_S) as client:
            await client.agents()
    except PolyrhythmError as error:
        note(f"something listens on {address}, but it is no coordinator that answers ({error})")
        return False
    return True
