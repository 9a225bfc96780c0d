"""``polyrhythm agents``: who is connected."""

from __future__ import annotations

import json
from dataclasses import dataclass

from polyrhythm_client.address import checked_address
from polyrhythm_client.cli import options
from polyrhythm_client.cli.running import run_command
from polyrhythm_client.cli.summary import agent_account
from polyrhythm_client.cli.tables import agents_table, print_troubles
from polyrhythm_client.cli.terminal import Screen, say


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentsOptions:
    """The options of the command, as written."""

    address: options.RunningAddress = None
    as_json: options.AsJson = False


def agents(given: AgentsOptions) -> None:
    """Lists the agents of a fleet: devices, models, and what each is doing.

    For example:

    ```
    polyrhythm agents
    polyrhythm agents --address 10.0.0.5:50051 --json
    ```
    """
    run_command(lambda _: _agents(given), as_json=given.as_json)


async def _agents(given: AgentsOptions) -> None:
    from polyrhythm_client.async_client import AsyncClient

    address = checked_address(given.address)
    async with AsyncClient(address) as client:
        found = await client.agents()
    if given.as_json:
        say(json.dumps({"agents": [agent_account(view) for view in found]}, ensure_ascii=False))
    elif found:
        console = Screen()
        console.print(agents_table(found))
        print_troubles(console, found)
    else:
        say(f"no agent is connected to {address}; start one with polyrhythm-agent --coordinator {address}")
