"""``polyrhythm up``: a fleet of this machine in the foreground."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from rich.console import Console
from rich.markup import escape

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_client.cli import options
from polyrhythm_client.cli.own_fleet import (
    FleetChoice,
    check_choice,
    choose_agents,
    loading_line,
    local_model,
    require_fleet,
)
from polyrhythm_client.cli.running import note_on, run_command
from polyrhythm_client.cli.terminal import StartingSign
from polyrhythm_client.local.layout import FleetLayout
from polyrhythm_client.local.programs import INSTALLED, Executables
from polyrhythm_client.local.variables import MODEL_VARIABLE, PORT_VARIABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """The options of the command, as written."""

    agents: Annotated[
        int | None,
        options.fleet("N", "Agents to start, at most 64; default: one a CUDA device, or one on the CPU."),
    ] = None
    fleet: options.FleetOptions
    model: Annotated[
        str | None,
        options.fleet(
            None,
            "What the agents load: demo-unet, a folder in diffusers format with safetensors, a .safetensors checkpoint "
            f"or ORG/NAME of the Hugging Face hub; default: {MODEL_VARIABLE}, else demo-unet.",
        ),
    ] = None
    port: Annotated[
        int | None,
        options.fleet(
            "N", f"Of the coordinator on 127.0.0.1; 0 for any that is free; default: {PORT_VARIABLE}, else 50051."
        ),
    ] = None
    log: Annotated[
        str | None,
        options.output(
            metavar="FILE|FOLDER/",
            explained="Keep what all processes log: in one file, or in a file each in a folder.",
        ),
    ] = None


def up(given: UpOptions) -> None:
    """Starts a coordinator and agents on this machine and keeps them until Ctrl-C.

    Prints a line when the coordinator is ready, and one whenever an agent changes its state: it loads its model, is
    ready, has lost its worker and why, or is drained. An agent gives up once three workers in a row were lost
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
    run_command(lambda console: keep_fleet(given, console), runs_until_signal=True)


async def layout_of(given: UpOptions, executables: Executables, note: Callable[[str], None]) -> FleetLayout:
    """What the options mean on this machine.

    Args:
        given: the options of the command.
        executables: how the machine's CUDA devices are listed.
        note: called with what was chosen and why.

    Raises:
        PolyrhythmError: options do not go together, or the machine has not what is asked for.
    """
    if given.agents is not None and given.fleet.speeds is not None:
        raise InvalidArgumentError.of("agents", "goes without --speeds, which names one agent a speed")
    if given.agents is not None and given.fleet.gpus is not None:
        raise InvalidArgumentError.of("agents", "goes without --gpus, which names one agent a device")
    if given.port is not None and not 0 <= given.port <= 65535:
        raise InvalidArgumentError.of("port", f"must be 0..65535, got {given.port}")
    choice = FleetChoice(options=given.fleet, model=given.model)
    check_choice(choice)
    require_fleet(own_port=False)
    model = local_model(choice)
    agents = await choose_agents(choice, executables, note, given.agents)
    return FleetLayout(agents=agents, model=model, port=given.port, loading=given.fleet.loading)


async def keep_fleet(given: UpOptions, console: Console, executables: Executables = INSTALLED) -> None:
    """Starts the fleet and keeps it until it is cancelled.

    Args:
        given: the options of the command.
        console: on standard error.
        executables: how the fleet's processes are started.

    Raises:
        PolyrhythmError: the fleet cannot be started, or its coordinator or last agent has ended.
    """
    from polyrhythm_client.local.fleet import LocalFleet
    from polyrhythm_client.local.logs import FleetLogs

    layout = await layout_of(given, executables, note_on(console))
    sign = StartingSign(console, "starting the coordinator")
    fleet = LocalFleet(
        layout,
        executables=executables,
        on_coordinator=lambda address: sign.say(f"coordinator ready on {address}"),
        on_change=lambda change: sign.say(_timed(f"agent {change.agent} {change.message}")),
        on_loaded=lambda loaded: sign.update(loading_line(loaded, len(layout.agents))),
        logs=None if given.log is None else FleetLogs(given.log),
    )
    async with AsyncExitStack() as stack:
        with sign:
            await stack.enter_async_context(fleet)
        ended = await fleet.watch(lambda agent: console.print(f"[yellow]{escape(_timed(str(agent)))}[/yellow]"))
        raise ended


def _timed(message: str) -> str:
    return f"{datetime.now():%H:%M:%S} {message}"  # noqa: DTZ005 - by the reader's own clock
