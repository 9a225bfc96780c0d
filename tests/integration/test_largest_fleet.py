"""The largest fleet at the allowed limits, listed over real gRPC: the answer passes both ends' limits."""

from __future__ import annotations

from polyrhythm.fleet import AGENTS_MAX
from polyrhythm_client import AsyncClient
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.server import coordinator
from polyrhythm_coordinator.settings import make_settings
from tests.worlds.largest_fleet import NAMES, connect_all


async def test_everybody_is_told_of_all_agents_and_what_they_say_of_themselves() -> None:
    async with coordinator(make_settings(port=0), Limits(heartbeat_timeout_s=600.0)) as server:
        connect_all(server.interpreter)
        async with AsyncClient(server.address) as client:
            views = await client.agents()
        assert tuple(view.name for view in views) == NAMES
        assert views == server.interpreter.state.views()
        assert len(views) == AGENTS_MAX
