"""``polyrhythm drain``: an agent out of service, and back."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from polyrhythm_client.address import checked_address
from polyrhythm_client.cli import options
from polyrhythm_client.cli.running import run_command
from polyrhythm_client.cli.summary import agent_account
from polyrhythm_client.cli.terminal import say


def drain(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Its name, as `polyrhythm agents` lists it.")],
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Put it back into service.")] = False,
    address: options.RunningAddress = None,
    as_json: options.AsJson = False,
) -> None:
    """Takes an agent out of service, such as before its machine is switched off.

    It starts no work any more. Of a picture that is running it gives up its rows at the next possible boundary; the
    others go on. `polyrhythm agents` shows it as draining until that picture is done, then as drained. It stays drained
    until `--undo` or the end of the coordinator, even if it disconnects. With the last agent drained, jobs that were
    accepted wait until one is back, and new ones are refused.

    For example:

    ```
    polyrhythm drain gpu-1
    polyrhythm drain gpu-1 --undo
    ```
    """
    run_command(lambda _: _drain(agent, checked_address(address), undo=undo, as_json=as_json), as_json=as_json)


async def _drain(agent: str, address: str, *, undo: bool, as_json: bool) -> None:
    from polyrhythm_client.client import Client

    async with Client(address) as client:
        view = await client.drain(agent, undo=undo)
    if as_json:
        say(json.dumps({"agent": None if view is None else agent_account(view)}, ensure_ascii=False))
    elif view is not None:
        say(f"{agent}: {view.state}")
    else:
        say(f"{agent}: not connected; {'will be used' if undo else 'stays drained'} when it is")
