"""``polyrhythm up``: a fleet of this machine in the foreground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.fleet import AgentView
from polyrhythm_client import options
from polyrhythm_client.commands.running import note_on, run_command
from polyrhythm_client.local.own_agents import OwnAgents
from polyrhythm_client.parsing import parse_speeds

DEFAULT_PORT = 50051


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """The options of the command, as written."""

    agents: int | None
    speeds: str | None
    model: str | None
    port: int
    own: OwnAgents


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
            help="What the agents load: demo-unet (default), a folder in diffusers format with safetensors, a "
            ".safetensors checkpoint or ORG/NAME of the Hugging Face hub.",
            rich_help_panel=options.FLEET,
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(
            metavar="N", help="Of the coordinator on 127.0.0.1; 0 for any that is free.", rich_help_panel=options.FLEET
        ),
    ] = DEFAULT_PORT,
) -> None:
    """Starts a coordinator and agents on this machine and keeps them until Ctrl-C.

    Prints one line for the coordinator and one for each agent when it is ready. Other commands then find this fleet
    without an address, as long as it listens on the default port.

    For example:

    ```
    polyrhythm up
    polyrhythm up --speeds 1,0.5 --port 50060
    ```
    """
    given = UpOptions(
        agents=agents,
        speeds=speeds,
        model=model,
        port=port,
        own=OwnAgents(model_config=model_config, dtype=dtype, offload=offload, gpus=gpus),
    )
    run_command(lambda console: _up(given, console), runs_until_signal=True)


async def _up(given: UpOptions, console: Console) -> None:
    from polyrhythm_client.fleet_in_use import FleetWish, check_wish, choose_agents, local_model
    from polyrhythm_client.local.fleet import Executables, FleetLayout, LocalFleet

    if given.agents is not None and given.speeds is not None:
        raise InvalidArgumentError.of("agents", "goes without --speeds, which names one agent a speed")
    if given.agents is not None and given.own.gpus is not None:
        raise InvalidArgumentError.of("agents", "goes without --gpus, which names one agent a device")
    if not 0 <= given.port <= 65535:
        raise InvalidArgumentError.of("port", f"must be 0..65535, got {given.port}")
    wish = FleetWish(
        speeds=None if given.speeds is None else parse_speeds(given.speeds),
        model=given.model,
        own=given.own,
    )
    check_wish(wish)
    model = local_model(wish)
    executables = Executables()
    layout = FleetLayout(
        agents=await choose_agents(wish, executables, note_on(console), given.agents),
        model=model,
        port=given.port,
        own=given.own,
    )
    fleet = LocalFleet(
        layout,
        executables=executables,
        on_coordinator=lambda address: typer.echo(f"coordinator ready on {address}"),
        on_ready=lambda view: typer.echo(_ready_line(view)),
    )
    async with fleet:
        ended = await fleet.watch(lambda agent: console.print(f"[yellow]{escape(str(agent))}[/yellow]"))
        raise ended


def _ready_line(view: AgentView) -> str:
    models = ", ".join(model.model for model in view.models)
    speed = view.device.emulated_speed
    emulated = "" if speed is None else f", emulated speed {speed:g}"
    return f"agent {view.agent} ready: {view.device.kind} {view.device.name}{emulated}, model {models}"
