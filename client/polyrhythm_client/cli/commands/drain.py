"""``polyrhythm drain``: an agent out of service, and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

import typer

from polyrhythm_client.address import checked_address
from polyrhythm_client.cli import options
from polyrhythm_client.cli.running import run_command
from polyrhythm_client.cli.summary import agent_account
from polyrhythm_client.cli.terminal import say


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainOptions:
    """The options of the command, as written."""

    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Its name, as `polyrhythm agents` lists it.")]
    undo: Annotated[bool, typer.Option("--undo", help="Put it back into service.")] = False
    address: options.RunningAddress = None
    as_json: options.AsJson = False


def drain(given: DrainOptions) -> None:
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
    run_command(lambda _: _drain(given), as_json=given.as_json)


async def _drain(given: DrainOptions) -> None:
    from polyrhythm_client.async_client import AsyncClient

    async with AsyncClient(checked_address(given.address)) as client:
        view = await client.drain(given.agent, undo=given.undo)
    if given.as_json:
        say(json.dumps({"agent": None if view is None else agent_account(view)}, ensure_ascii=False))
    elif view is not None:
        say(f"{given.agent}: {view.state}")
    else:
        say(f"{given.agent}: not connected; {'will be used' if given.undo else 'stays drained'} when it is")
