"""``polyrhythm generate``: makes pictures and writes them."""

from __future__ import annotations

import json
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from polyrhythm.errors import InternalError, WireError
from polyrhythm.fleet import AgentView
from polyrhythm.job.events import Planned, Previewed, Replanned
from polyrhythm.job.image import ImageRequest
from polyrhythm_client.cli import options
from polyrhythm_client.cli.image_request import ImageOptions, image_request, resolved_image
from polyrhythm_client.cli.interrupt import beside_signals
from polyrhythm_client.cli.output import (
    STANDARD_OUTPUT,
    Preview,
    check_output,
    check_standard_output,
    output_path,
    write_standard_output,
    write_whole,
)
from polyrhythm_client.cli.running import fleet_for, run_command
from polyrhythm_client.cli.screen import JobProgress, show_changes
from polyrhythm_client.cli.summary import measured_fleet, picture_line, picture_summary
from polyrhythm_client.cli.terminal import say
from polyrhythm_client.local.own_agents import OwnAgents
from polyrhythm_client.parsing import parse_speeds
from polyrhythm_client.pictures import Picture, PictureAssembler
from polyrhythm_client.recipes.png import PngError, add_texts
from polyrhythm_client.recipes.recipe import Recipe, recipe_of, recipe_texts
from polyrhythm_client.recipes.recipe_file import read_recipe
from polyrhythm_client.recipes.replay import changed_software, check_weights

if TYPE_CHECKING:
    from polyrhythm_client.client import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """The options of the command, as written."""

    image: ImageOptions
    output: Path | None
    plan_file: Path | None
    address: str | None
    speeds: str | None
    own: OwnAgents
    as_json: bool


def generate(
    prompt: options.Prompt = None,
    model: options.Model = None,
    negative: options.Negative = None,
    long_prompt: options.LongPromptChoice = None,
    size: options.Size = None,
    steps: options.Steps = None,
    seed: options.Seed = None,
    guidance: options.Guidance = None,
    sampler: options.SamplerChoice = None,
    quality: options.QualityChoice = None,
    objective: options.ObjectiveChoice = None,
    max_stride: options.MaxStride = None,
    warmup: options.Warmup = None,
    tail: options.Tail = None,
    loss_db: options.LossDb = None,
    devices: options.Devices = None,
    count: options.Count = None,
    plan: options.PlanFile = None,
    address: options.Address = None,
    speeds: options.Speeds = None,
    gpus: options.Gpus = None,
    model_config: options.ModelConfig = None,
    dtype: options.Dtype = None,
    offload: options.Offload = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="PNG file to write, or - for standard output; default: a name made from prompt and seed. Several "
            "pictures are numbered.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    preview_every: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Write the newest preview beside the picture every N steps or more; it is gone at the end.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Makes a picture on all devices of a fleet at once.

    If no coordinator is named and none answers on this machine, a fleet is started for this one command and ended with
    it: one agent a CUDA device, or one on the CPU.

    The PNG file carries prompt, seed, plan and versions: **--plan FILE** makes the same picture again, byte
    for byte on the same kind of devices. Other weights are refused, other software is told.

    For example:

    ```
    polyrhythm generate "red apple on a blue background" -o apple.png
    polyrhythm generate "red apple on a blue background" --speeds 1,0.5 --json
    polyrhythm generate --plan apple.png -o again.png
    polyrhythm generate "red apple on a blue background" -o - > apple.png
    ```
    """
    given = GenerateOptions(
        image=ImageOptions(
            prompt=prompt,
            model=model,
            negative=negative,
            long_prompt=long_prompt,
            size=size,
            steps=steps,
            seed=seed,
            guidance=guidance,
            sampler=sampler,
            quality=quality,
            objective=objective,
            max_stride=max_stride,
            warmup=warmup,
            tail=tail,
            loss_db=loss_db,
            devices=devices,
            count=count,
            preview_every=preview_every,
        ),
        output=output,
        plan_file=plan,
        address=address,
        speeds=speeds,
        own=OwnAgents(model_config=model_config, dtype=dtype, offload=offload, gpus=gpus),
        as_json=as_json,
    )
    run_command(lambda console: _generate(given, console), as_json=given.as_json)


async def _generate(given: GenerateOptions, console: Console) -> None:
    # gRPC is imported here and not above: --help and a mistyped option must answer at once.
    from polyrhythm_client.cli.fleet_in_use import FleetWish, check_wish
    from polyrhythm_client.client import Client

    plan_file = given.plan_file
    recipe = None if plan_file is None else await beside_signals(lambda: read_recipe(plan_file))
    request = image_request(given.image, recipe)
    if given.output == STANDARD_OUTPUT:
        previews = request.preview_every_steps > 0
        check_standard_output(count=request.count, previews=previews, as_json=given.as_json)
    else:
        check_output(given.output, count=request.count)
    wish = FleetWish(
        address=given.address,
        speeds=None if given.speeds is None else parse_speeds(given.speeds),
        model=given.image.model,
        recipe=recipe,
        own=given.own,
    )
    check_wish(wish)
    async with fleet_for(wish, console, quiet=given.as_json) as fleet, Client(fleet.address) as client:
        # A fleet of our own holds one model, whatever folder it came from.
        asked = replace(request, model="") if fleet.embedded else request
        if recipe is not None:
            check_weights(recipe, asked.model, await client.agents())  # before the wait in the queue
        summaries = await _run_job(client, asked, recipe, given, console)
    if given.as_json:
        say(json.dumps({"images": summaries}, ensure_ascii=False))


async def _run_job(
    client: Client, request: ImageRequest, recipe: Recipe | None, given: GenerateOptions, console: Console
) -> list[dict[str, Any]]:
    """Runs the job, writes each picture as it comes, and returns the account of each, in order of their seeds."""
    assembler = PictureAssembler()
    agents: tuple[AgentView, ...] = ()
    summaries: list[dict[str, Any]] = []
    with JobProgress(console, quiet=given.as_json) as progress, Preview(given.output) as preview:
        async with aclosing(client.generate(request)) as events:
            async for event in events:
                progress.show(event)
                if isinstance(event, Planned | Replanned):
                    # Now all that will take part are connected, and say what they are.
                    agents = await client.agents()
                if isinstance(event, Planned) and recipe is not None:
                    check_weights(recipe, request.model, agents)
                    if event.image_index == 0:
                        show_changes(console, changed_software(recipe, agents))
                if isinstance(event, Previewed):
                    preview.write(event.png)
                picture = assembler.take(event)
                if picture is not None:
                    with progress.hidden():
                        summaries.append(_finish(picture, request, agents, given))
    if len(summaries) != request.count:
        raise InternalError(f"the job ended after {len(summaries)} of {request.count} pictures")
    return sorted(summaries, key=lambda summary: summary["image_index"])


def _finish(
    picture: Picture, request: ImageRequest, agents: tuple[AgentView, ...], given: GenerateOptions
) -> dict[str, Any]:
    """Writes one picture with its recipe, says so, and returns its account."""
    from polyrhythm.codec.image import too_long_to_ask_for  # by now protobuf is loaded; --help does without it

    report = picture.report
    index = report.image_index
    image = resolved_image(request, report, agents)
    path = output_path(given.output, prompt=image.prompt, seed=report.seed, index=index, count=request.count)
    recipe = recipe_of(image, report, agents)
    try:
        content = add_texts(picture.png, recipe_texts(recipe))
    except PngError as error:
        raise WireError(f"image_chunk: what the fleet made is no picture: {error}") from error
    if path == STANDARD_OUTPUT:
        write_standard_output(content)
        say(picture_line(picture, image, Path("standard output")), err=True)
    else:
        write_whole(path, content)
        if not given.as_json:
            say(picture_line(picture, image, path))
    if too_long := too_long_to_ask_for(recipe.plan):
        say(f"{path} cannot be made again by --plan: {too_long}", err=True)
    return {**picture_summary(picture, image, path), "measured": measured_fleet(picture, agents)}
