"""``polyrhythm simulate``: pictures on a described fleet, in virtual time."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.markup import escape

from polyrhythm.process.roles import Role, require_roles
from polyrhythm_client.cli import options
from polyrhythm_client.cli.failures import FailedAccountError
from polyrhythm_client.cli.running import run_command
from polyrhythm_client.cli.simulation_tables import print_simulation
from polyrhythm_client.cli.terminal import Screen, say
from polyrhythm_client.local.programs import spelled
from polyrhythm_client.parsing import parse_size


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """The options of the command, as written."""

    devices: Annotated[Path | None, options.fleet("FILE", "The described fleet, a TOML file.")] = None
    fit: Annotated[
        Path | None,
        options.fleet(
            "REPORT", "Describe a fleet from what `polyrhythm generate --json` printed, instead of simulating one."
        ),
    ] = None
    cards: Annotated[
        str | None,
        options.fleet(
            "A,B,...",
            "Instead of a file: cards by their data sheets, such as rtx-4090,rtx-3060,gtx-1080. Not measured.",
        ),
    ] = None
    model_preset: Annotated[
        str | None,
        options.fleet("NAME", "With --cards: sd15, sdxl, pixart-512 or pixart-1024, by its architecture."),
    ] = None
    image: options.ImageOptions
    gantt: Annotated[
        Path | None, options.output(metavar="FILE", explained="Also draw who did what when into this PNG file.")
    ] = None
    output: Annotated[
        Path | None,
        options.output(*("--output", "-o"), metavar="FILE", explained="With --fit or --cards: the TOML file to write."),
    ] = None
    as_json: options.AsJson = False

    def arguments(self) -> tuple[str, ...]:
        """Options of the simulator, which says what goes together.

        Raises:
            InvalidArgumentError: the size is none.
        """
        own = {name: value for name, value in asdict(self).items() if name not in {"image", "as_json"}}
        image = {name: value for name, value in asdict(self.image).items() if name != "size" and value is not None}
        if self.image.size is not None:
            image["width"], image["height"] = parse_size(self.image.size)
        return spelled({**own, **image})


def simulate(given: SimulateOptions) -> None:
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
    run_command(lambda console: _simulate(given, console), as_json=given.as_json)


async def _simulate(given: SimulateOptions, console: Console) -> None:
    from polyrhythm_client.local.simulator import run_simulator

    require_roles("simulating", Role.COORDINATOR)
    account = await run_simulator(given.arguments())
    if given.fit is not None:
        for notice in account["notices"]:
            console.print(f"[yellow]note:[/yellow] {escape(notice)}")
        say(json.dumps(account) if given.as_json else f"{account['path']}: {account['summary']}")
        return
    failure = account.pop("error", None)
    if not given.as_json:
        print_simulation(Screen(), account)
        if given.gantt is not None:
            say(f"chart: {given.gantt}")
        if "path" in account:
            say(f"fleet: {account['path']}")
    elif failure is None:
        say(json.dumps(account, ensure_ascii=False))
    if failure is not None:
        raise FailedAccountError(f"the simulated job failed: {failure}", account)
