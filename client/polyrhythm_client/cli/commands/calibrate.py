"""``polyrhythm calibrate``: measures what a plan may cost in quality, once a model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from polyrhythm.model.loading_choices import DtypeChoice
from polyrhythm.process.roles import Role, require_roles
from polyrhythm_client.cli import options
from polyrhythm_client.cli.running import run_command
from polyrhythm_client.cli.terminal import say
from polyrhythm_client.local.calibration import run_calibration
from polyrhythm_client.local.programs import INSTALLED, spelled


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateOptions:
    """The options of the command, as written; None leaves it to the agent's own program."""

    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="demo-unet, a folder, a checkpoint or ORG/NAME of the hub.")
    ]
    model_config: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Configs and tokenizers of a checkpoint file; default: beside it, else known ones."
        ),
    ] = None
    device: Annotated[str | None, typer.Option(metavar="cpu|cuda:N", help="What to compute on; default: the CPU.")] = (
        None
    )
    dtype: Annotated[
        DtypeChoice | None,
        typer.Option(
            metavar="TYPE", help="Arithmetic: float32, bfloat16, float16 or float64; default: auto, by the device."
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", help="Compute threads of each member of a gang; default: half of the cores."),
    ] = None
    pictures: Annotated[int | None, typer.Option(metavar="N", help="Pictures to measure in full; default: 8.")] = None
    level_pictures: Annotated[
        int | None, typer.Option(metavar="N", help="More, for how touchy pictures are: cheap; default: 56.")
    ] = None
    steps: Annotated[
        str | None,
        typer.Option(metavar="N[,N..]", help="Lengths to measure, such as 8,20,50; default: the model's own."),
    ] = None
    prompts: Annotated[Path | None, typer.Option(metavar="FILE", help="One prompt a line; default: plain objects.")] = (
        None
    )
    members: Annotated[
        int | None, typer.Option(metavar="N", help="Largest gang to measure, a copy of the denoiser each; default: 4.")
    ] = None
    replace: Annotated[bool, typer.Option("--replace", help="Replace a calibration of more pictures, too.")] = False
    as_json: options.AsJson = False

    def arguments(self) -> tuple[str, ...]:
        """Options of the agent's own program."""
        return spelled({name: value for name, value in asdict(self).items() if name != "as_json"})


def calibrate(given: CalibrateOptions) -> None:
    """Measures what stale activations and merged steps cost on a model.

    The result is calibration.json in the model's folder; of a checkpoint file, in the folder that it was converted to.
    Every agent that holds the folder reports it from its next start on; quality **balanced** then means the fastest
    plan in which the fastest device takes every step and whose predicted picture is at most 1 dB worse than plain
    displaced parallelism makes it, in the mean and for the touchiest tenth of pictures, **fast** the fastest of all
    plans within 3 dB, and `polyrhythm plan` shows the prediction.

    It counts for pictures of the model's own sampler, of about the measured size and guidance, and of the measured
    lengths and what lies between two of them. Elsewhere nothing is known, and no step is skipped.

    A picture measured in full takes as long as 15 to 30 plain ones, each of the others as long as five. One that is
    broken off goes on, run again, from the last picture. Other weights need a calibration of their own.

    Variables of agents that set configs, device, dtype and threads, such as POLYRHYTHM_AGENT_DEVICE, count here, too.

    For example:

    ```
    polyrhythm calibrate demo-unet --steps 8,12,20,30,50
    polyrhythm calibrate /models/PixArt-XL-2-512x512 --device cuda:0
    polyrhythm calibrate sd_xl.safetensors --model-config sdxl-configs
    ```
    """
    run_command(lambda console: _calibrate(given, console), as_json=given.as_json)


async def _calibrate(given: CalibrateOptions, console: Console) -> None:
    require_roles("calibrating", Role.AGENT)
    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    hidden = given.as_json or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        bar = progress.add_task("measuring", total=None)
        calibrated = await run_calibration(
            given.arguments(), INSTALLED.agent, lambda done, total: progress.update(bar, completed=done, total=total)
        )
    if given.as_json:
        say(json.dumps({**asdict(calibrated), "path": str(calibrated.path)}))
    else:
        say(
            f"{calibrated.path}: {calibrated.pictures} pictures, {calibrated.steps} steps of {calibrated.sampler}; "
            "agents report it from their next start on"
        )
