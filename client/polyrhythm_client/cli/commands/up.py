"""``polyrhythm up``: a fleet of this machine in the foreground."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_client.cli import options
from polyrhythm_client.cli.running import note_on, run_command
from polyrhythm_client.cli.screen import StartingSign
from polyrhythm_client.local.own_agents import OwnAgents
from polyrhythm_client.local.variables import MODEL_VARIABLE, PORT_VARIABLE
from polyrhythm_client.parsing import parse_speeds


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """The options of the command, as written."""

    agents: int | None
    speeds: str | None
    model: str | None
    port: int | None
    own: OwnAgents
    log: str | None


def up(
    agents: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Agents to start, at most 64; default: one a CUDA device, or one on the CPU.",
            rich_help_panel=options.FLEET,
        ),
    ] = None,
    speeds: options.Speeds = None,
    gpus: options.Gpus = None,
    model_config: options.ModelConfig = None,
    dtype: options.Dtype = None,
    offload: options.Offload = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="What the agents load: demo-unet, a folder in diffusers format with safetensors, a .safetensors "
            f"checkpoint or ORG/NAME of the Hugging Face hub; default: {MODEL_VARIABLE}, else demo-unet.",
            rich_help_panel=options.FLEET,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help=f"Of the coordinator on 127.0.0.1; 0 for any that is free; default: {PORT_VARIABLE}, else 50051.",
            rich_help_panel=options.FLEET,
        ),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|FOLDER/",
            help="Keep what all processes log: in one file, or in a file each in a folder.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
) -> None:
    """Starts a coordinator and agents on this machine and keeps them until Ctrl-C.

    Prints a line when the coordinator is ready, and one whenever an agent stands otherwise than before: it loads its
    model, is ready, has lost its worker and why, or is drained. An agent gives up once three workers in a row were lost
    before they were ready. Other commands find this fleet without an address, as long as it listens on port 50051.

    Variables of the coordinator and the agents, such as POLYRHYTHM_AGENT_MEMORY_LIMIT, count for the processes that are
    started; an option of this command goes before one. Those that say what is decided here for each process, such as
    POLYRHYTHM_AGENT_NAME, are refused, and so they are wherever a command starts a fleet of its own.

    For example:

    ```
    polyrhythm up
    polyrhythm up --speeds 1,0.5 --port 50060 --log fleet.log
    ```
    """
    given = UpOptions(
        agents=agents,
        speeds=speeds,
        model=model,
        port=port,
        own=OwnAgents(model_config=model_config, dtype=dtype, offload=offload, gpus=gpus),
        log=log,
    )
    run_command(lambda console: _up(given, console), runs_until_signal=True)


async def _up(given: UpOptions, console: Console) -> None:
    from polyrhythm_client.cli.fleet_in_use import (
        FleetWish,
        check_wish,
        choose_agents,
        loading_line,
        local_model,
        require_fleet,
    )
    from polyrhythm_client.local.fleet import Executables, FleetLayout, LocalFleet
    from polyrhythm_client.local.logs import FleetLogs

    if given.agents is not None and given.speeds is not None:
        raise InvalidArgumentError.of("agents", "goes without --speeds, which names one agent a speed")
    if given.agents is not None and given.own.gpus is not None:
        raise InvalidArgumentError.of("agents", "goes without --gpus, which names one agent a device")
    if given.port is not None and not 0 <= given.port <= 65535:
        raise InvalidArgumentError.of("port", f"must be 0..65535, got {given.port}")
    wish = FleetWish(
        speeds=None if given.speeds is None else parse_speeds(given.speeds),
        model=given.model,
        own=given.own,
    )
    check_wish(wish)
    require_fleet(own_port=False)
    model = local_model(wish)
    executables = Executables()
    layout = FleetLayout(
        agents=await choose_agents(wish, executables, note_on(console), given.agents),
        model=model,
        port=given.port,
        own=given.own,
    )
    sign = StartingSign(console, "starting the coordinator")
    fleet = LocalFleet(
        layout,
        executables=executables,
        on_coordinator=lambda address: sign.say(f"coordinator ready on {address}"),
        on_change=lambda change: sign.say(_line(f"agent {change.agent} {change.told}")),
        on_loaded=lambda loaded: sign.update(loading_line(loaded, len(layout.agents))),
        logs=None if given.log is None else FleetLogs(given.log),
    )
    async with AsyncExitStack() as stack:
        with sign:
            await stack.enter_async_context(fleet)
        ended = await fleet.watch(lambda agent: console.print(f"[yellow]{escape(_line(str(agent)))}[/yellow]"))
        raise ended


def _line(told: str) -> str:
    return f"{datetime.now():%H:%M:%S} {told}"  # noqa: DTZ005 - by the clock of whoever reads it
