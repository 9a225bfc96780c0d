"""``polyrhythm simulate``: pictures on a described fleet, in virtual time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from polyrhythm.job.image import Objective, Quality, Sampler
from polyrhythm.process.roles import Role, require_roles
from polyrhythm_client.cli import options
from polyrhythm_client.cli.running import run_command
from polyrhythm_client.cli.screen import FailedAccountError
from polyrhythm_client.cli.simulation_tables import print_simulation
from polyrhythm_client.cli.terminal import Screen, say
from polyrhythm_client.parsing import parse_size


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """The options of the command, as written."""

    devices: Path | None
    fit: Path | None
    cards: str | None
    model_preset: str | None
    size: str | None
    steps: int | None
    guidance: float | None
    sampler: Sampler | None
    quality: Quality | None
    objective: Objective | None
    count: int | None
    max_stride: int | None
    warmup: int | None
    tail: int | None
    loss_db: float | None
    gantt: Path | None
    output: Path | None
    as_json: bool


def simulate(
    devices: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The described fleet, a TOML file.", rich_help_panel=options.FLEET),
    ] = None,
    fit: Annotated[
        Path | None,
        typer.Option(
            metavar="REPORT",
            help="Describe a fleet from what `polyrhythm generate --json` printed, instead of simulating one.",
            rich_help_panel=options.FLEET,
        ),
    ] = None,
    cards: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            help="Instead of a file: cards by their data sheets, such as rtx-4090,rtx-3060,gtx-1080. Not measured.",
            rich_help_panel=options.FLEET,
        ),
    ] = None,
    model_preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --cards: sd15, sdxl, pixart-512 or pixart-1024, by its architecture.",
            rich_help_panel=options.FLEET,
        ),
    ] = None,
    size: options.Size = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    sampler: options.SamplerChoice = None,
    quality: options.QualityChoice = None,
    objective: options.ObjectiveChoice = None,
    count: options.Count = None,
    max_stride: options.MaxStride = None,
    warmup: options.Warmup = None,
    tail: options.Tail = None,
    loss_db: options.LossDb = None,
    gantt: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also draw who did what when into this PNG file.", rich_help_panel=options.OUTPUT
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="With --fit or --cards: the TOML file to write.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Simulates pictures on a described fleet: no device is needed, and no time passes.

    The plans are made, followed and changed by the very scheduling core of the coordinator; the devices of the file
    take the time that it says, under load that comes and goes, and may join, leave or die. docs/simulate.md explains
    the file.

    For example:

    ```
    polyrhythm simulate --devices examples/fleet.toml --gantt fleet.png
    polyrhythm simulate --cards rtx-4090,rtx-3060,gtx-1080 --model-preset sdxl
    polyrhythm generate "red apple" --speeds 1,0.5 --count 2 --json > run.json
    polyrhythm simulate --fit run.json -o fleet.toml
    ```
    """
    given = SimulateOptions(
        devices=devices,
        fit=fit,
        cards=cards,
        model_preset=model_preset,
        size=size,
        steps=steps,
        guidance=guidance,
        sampler=sampler,
        quality=quality,
        objective=objective,
        count=count,
        max_stride=max_stride,
        warmup=warmup,
        tail=tail,
        loss_db=loss_db,
        gantt=gantt,
        output=output,
        as_json=as_json,
    )
    run_command(lambda console: _simulate(given, console), as_json=given.as_json)


async def _simulate(given: SimulateOptions, console: Console) -> None:
    from polyrhythm_client.local.simulator import run_simulator

    require_roles("simulating", Role.COORDINATOR)
    account = await run_simulator(_arguments(given))
    if given.fit is not None:
        for notice in account.texts("notices"):
            console.print(f"[yellow]note:[/yellow] {escape(notice)}")
        say(json.dumps(account.as_dict()) if given.as_json else f"{account.text('path')}: {account.text('summary')}")
        return
    held = {name: value for name, value in account.as_dict().items() if name != "error"}
    failed = account.text("error") if "error" in account else None
    if not given.as_json:
        print_simulation(Screen(), account)
        if given.gantt is not None:
            say(f"chart: {given.gantt}")
        if "path" in account:
            say(f"fleet: {account.text('path')}")
    elif failed is None:
        say(json.dumps(held, ensure_ascii=False))
    if failed is not None:
        raise FailedAccountError(f"the simulated job failed: {failed}", held)


def _arguments(given: SimulateOptions) -> tuple[str, ...]:
    """Options of the simulator, which says what goes together.

    Raises:
        InvalidArgumentError: the size is none.
    """
    width_px, height_px = (None, None) if given.size is None else parse_size(given.size)
    held = {
        "--devices": given.devices,
        "--fit": given.fit,
        "--cards": given.cards,
        "--model-preset": given.model_preset,
        "--output": given.output,
        "--width": width_px,
        "--height": height_px,
        "--steps": given.steps,
        "--guidance": given.guidance,
        "--sampler": given.sampler,
        "--quality": given.quality,
        "--objective": given.objective,
        "--count": given.count,
        "--max-stride": given.max_stride,
        "--warmup": given.warmup,
        "--tail": given.tail,
        "--loss-db": given.loss_db,
        "--gantt": given.gantt,
    }
    return tuple(f"{option}={value}" for option, value in held.items() if value is not None)
