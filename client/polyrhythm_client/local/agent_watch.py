"""Asks a coordinator again and again how its agents are, and passes on what has changed.

Polls, because the API has no watch; a fleet on loopback answers in a millisecond.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from polyrhythm.errors import InternalError, PolyrhythmError
from polyrhythm.fleet import AgentView
from polyrhythm.ids import AgentId
from polyrhythm_client.async_client import AsyncClient
from polyrhythm_client.local.agent_changes import AgentChange, changes, is_loaded

SILENT_S = 150.0
"""How long no agent of a fleet that starts may change its state; each says more of itself in less, or gives up."""
STARTING_POLL_S = 0.05
RUNNING_POLL_S = 0.5


class AgentWatch:
    """What is known of a fleet's agents.

    Args:
        on_change: called with every agent that has changed its state.
    """

    def __init__(self, on_change: Callable[[AgentChange], None]) -> None:
        self._on_change = on_change
        self._views: dict[AgentId, AgentView] = {}

    async def until_loaded(self, address: str, wanted: frozenset[AgentId], on_loaded: Callable[[int], None]) -> None:
        """Waits until agents hold their model.

        Args:
            address: of the coordinator.
            wanted: their names.
            on_loaded: called with how many of them do, whenever that changes.

        Raises:
            InternalError: nothing has changed for too long.
            PolyrhythmError: the coordinator does not answer.
        """
        counted, clock = -1, asyncio.get_running_loop().time
        async with AsyncClient(address) as client:
            try:
                async with asyncio.timeout(SILENT_S) as silence:
                    while counted < len(wanted):
                        if self._look(await client.agents()):
                            silence.reschedule(clock() + SILENT_S)
                        loaded = len(wanted & self._loaded())
                        if loaded != counted:
                            counted = loaded
                            on_loaded(counted)
                        await asyncio.sleep(STARTING_POLL_S)
            except TimeoutError:
                names = ", ".join(sorted(wanted - self._loaded()))
                raise InternalError(f"nothing has changed for {SILENT_S:g} s, not ready: {names}") from None

    async def follow(self, address: str) -> None:
        """Passes changes on until it is cancelled, for as long as there is a coordinator to ask."""
        async with AsyncClient(address) as client:
            while True:
                with suppress(PolyrhythmError):  # the coordinator's end is noticed by LocalFleet.watch
                    self._look(await client.agents())
                await asyncio.sleep(RUNNING_POLL_S)

    def _loaded(self) -> set[AgentId]:
        return {name for name, view in self._views.items() if is_loaded(view)}

    def _look(self, views: tuple[AgentView, ...]) -> bool:
        """Passes on what has changed; whether anything has."""
        found = changes(self._views, views)
        self._views = {view.name: view for view in views}
        for change in found:
            self._on_change(change)
        return bool(found)
