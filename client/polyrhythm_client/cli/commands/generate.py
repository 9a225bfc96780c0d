"""``polyrhythm generate``: makes pictures and writes them."""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console

from polyrhythm.fleet import AgentView
from polyrhythm.ids import AgentId
from polyrhythm.job.events import ImagePlanned, ImagePreviewed, ImageReplanned
from polyrhythm.job.image import ImageRequest
from polyrhythm_client.cli import options
from polyrhythm_client.cli.image_request import image_request
from polyrhythm_client.cli.job_progress import JobProgress
from polyrhythm_client.cli.output import (
    STANDARD_OUTPUT,
    Preview,
    check_output,
    check_standard_output,
    output_path,
    write_picture,
    write_standard_output,
)
from polyrhythm_client.cli.own_fleet import FleetChoice
from polyrhythm_client.cli.running import fleet_for, read_plan_file, run_command, show_changes
from polyrhythm_client.cli.summary import measured_fleet, picture_line, picture_summary
from polyrhythm_client.cli.terminal import say
from polyrhythm_client.pictures import Picture
from polyrhythm_client.recipes.recipe import Recipe
from polyrhythm_client.recipes.replay import changed_software, check_weights

if TYPE_CHECKING:
    from polyrhythm_client.async_client import AsyncClient


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """The options of the command, as written."""

    image: options.ImageOptions
    plan_file: options.PlanFile = None
    fleet: options.FleetOptions
    output: Annotated[
        Path | None,
        options.output(
            *("--output", "-o"),
            metavar="FILE",
            explained="PNG file to write, or - for standard output; default: a name made from prompt and seed. Several "
            "pictures are numbered.",
        ),
    ] = None
    preview_every: Annotated[
        int | None,
        options.output(
            metavar="N",
            explained="Write the newest preview beside the picture every N steps or more; it is gone at the end.",
        ),
    ] = None
    as_json: options.AsJson = False


def generate(given: GenerateOptions) -> None:
    """Makes a picture on all devices of a fleet at once.

    If no coordinator is named and none answers on this machine, a fleet is started for this one command and ended with
    it: one agent a CUDA device, or one on the CPU.

    The PNG file carries prompt, seed, plan and versions: **--plan FILE** makes the same picture again, byte
    for byte on the same kind of devices. Other weights are refused, other software is noted.

    For example:

    ```
    polyrhythm generate "red apple on a blue background" -o apple.png
    polyrhythm generate "red apple on a blue background" --speeds 1,0.5 --json
    polyrhythm generate --plan apple.png -o again.png
    polyrhythm generate "red apple on a blue background" -o - > apple.png
    ```
    """
    run_command(lambda console: _generate(given, console), as_json=given.as_json)


async def _generate(given: GenerateOptions, console: Console) -> None:
    # gRPC is imported here and not above: --help and a mistyped option must answer at once.
    from polyrhythm_client.async_client import AsyncClient

    recipe = await read_plan_file(given.plan_file)
    request = image_request(given.image, recipe, preview_every=given.preview_every)
    if given.output == STANDARD_OUTPUT:
        previews = request.preview_every_steps > 0
        check_standard_output(count=request.count, previews=previews, as_json=given.as_json)
    else:
        check_output(given.output, count=request.count)
    choice = FleetChoice(options=given.fleet, model=given.image.model, recipe=recipe)
    async with fleet_for(choice, console, quiet=given.as_json) as fleet, AsyncClient(fleet.address) as client:
        # A fleet of our own holds one model, whatever folder it came from.
        asked = replace(request, model="") if fleet.embedded else request
        if recipe is not None:
            check_weights(recipe, asked.model, await client.agents())  # before the wait in the queue
        summaries = await _run_job(client, asked, recipe, given, console)
    if given.as_json:
        say(json.dumps({"images": summaries}, ensure_ascii=False))


async def _run_job(
    client: AsyncClient, request: ImageRequest, recipe: Recipe | None, given: GenerateOptions, console: Console
) -> list[dict[str, Any]]:
    """Runs the job, writes each picture as it comes, and returns the account of each, in order of their seeds."""
    summaries: list[dict[str, Any]] = []
    agents: dict[AgentId, AgentView] = {}
    with JobProgress(console, quiet=given.as_json) as progress, Preview(given.output) as preview:
        async with aclosing(client.generate(request)) as events:
            async for event in events:
                if isinstance(event, Picture):
                    with progress.hidden():
                        summaries.append(_written(event, request.count, agents.values(), given))
                    continue
                progress.show(event)
                if isinstance(event, ImagePreviewed):
                    preview.write(event.png)
                if isinstance(event, ImagePlanned | ImageReplanned) and (recipe is not None or given.as_json):
                    # Now all that will take part are connected; those that were lost since are remembered.
                    agents |= {view.name: view for view in await client.agents()}
                if isinstance(event, ImagePlanned) and recipe is not None:
                    check_weights(recipe, request.model, tuple(agents.values()))
                    if event.image_index == 0:
                        show_changes(console, changed_software(recipe, tuple(agents.values())))
    return sorted(summaries, key=lambda summary: summary["image_index"])


def _written(picture: Picture, count: int, agents: Collection[AgentView], given: GenerateOptions) -> dict[str, Any]:
    """Writes one picture of a job, says so, and returns its account.

    Raises:
        InvalidArgumentError: it cannot be written.
    """
    from polyrhythm.codec.image import too_long_to_ask_for  # by now protobuf is loaded; --help does without it

    seed, index = picture.report.seed, picture.report.image_index
    path = output_path(given.output, prompt=picture.spec.prompt, seed=seed, index=index, count=count)
    if path == STANDARD_OUTPUT:
        write_standard_output(picture.png)
        say(picture_line(picture, Path("standard output")), err=True)
    else:
        write_picture(path, picture.png)
        if not given.as_json:
            say(picture_line(picture, path))
    if too_long := too_long_to_ask_for(picture.recipe.plan):
        say(f"{path} cannot be made again by --plan: {too_long}", err=True)
    return {**picture_summary(picture, path), "measured": measured_fleet(picture, agents)}
