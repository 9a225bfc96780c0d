"""``polyrhythm plan``: how a picture would be made, and why."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console

from polyrhythm_client.cli import options
from polyrhythm_client.cli.image_request import ImageOptions, image_request
from polyrhythm_client.cli.interrupt import beside_signals
from polyrhythm_client.cli.running import fleet_for, run_command
from polyrhythm_client.cli.screen import show_changes
from polyrhythm_client.cli.tables import print_explanation
from polyrhythm_client.cli.terminal import Screen, say
from polyrhythm_client.local.own_agents import OwnAgents
from polyrhythm_client.parsing import parse_speeds
from polyrhythm_client.recipes.recipe import request_settings
from polyrhythm_client.recipes.recipe_file import read_recipe
from polyrhythm_client.recipes.replay import changed_software, changed_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """The options of the command, as written."""

    image: ImageOptions
    plan_file: Path | None
    address: str | None
    speeds: str | None
    own: OwnAgents
    as_json: bool


def plan(
    prompt: options.Prompt = None,
    model: options.Model = None,
    negative: options.Negative = None,
    long_prompt: options.LongPromptChoice = None,
    size: options.Size = None,
    steps: options.Steps = None,
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
    plan_file: options.PlanFile = None,
    address: options.Address = None,
    speeds: options.Speeds = None,
    gpus: options.Gpus = None,
    model_config: options.ModelConfig = None,
    dtype: options.Dtype = None,
    offload: options.Offload = None,
    as_json: options.AsJson = False,
) -> None:
    """Explains how a picture would be made, without making it.

    Shows who would compute which rows in which steps, what that is predicted to take, which other plans came close,
    and why a device is left out. Of several pictures it shows the first, and says whether they would be made one after
    another by a gang or each by one device. A size that the fleet has not seen yet is measured first, which takes
    seconds.

    For example:

    ```
    polyrhythm plan "red apple on a blue background" --speeds 1,0.5
    polyrhythm plan "red apple on a blue background" --json > plan.json
    polyrhythm generate --plan plan.json -o apple.png
    ```
    """
    given = PlanOptions(
        image=ImageOptions(
            prompt=prompt,
            model=model,
            negative=negative,
            long_prompt=long_prompt,
            size=size,
            steps=steps,
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
        ),
        plan_file=plan_file,
        address=address,
        speeds=speeds,
        own=OwnAgents(model_config=model_config, dtype=dtype, offload=offload, gpus=gpus),
        as_json=as_json,
    )
    run_command(lambda console: _plan(given, console), as_json=given.as_json)


async def _plan(given: PlanOptions, console: Console) -> None:
    from polyrhythm_client.cli.fleet_in_use import FleetWish, check_wish
    from polyrhythm_client.client import Client

    plan_file = given.plan_file
    recipe = None if plan_file is None else await beside_signals(lambda: read_recipe(plan_file))
    request = image_request(given.image, recipe)
    wish = FleetWish(
        address=given.address,
        speeds=None if given.speeds is None else parse_speeds(given.speeds),
        model=given.image.model,
        recipe=recipe,
        own=given.own,
    )
    check_wish(wish)
    async with fleet_for(wish, console, quiet=given.as_json) as fleet, Client(fleet.address) as client:
        asked = replace(request, model="") if fleet.embedded else request
        explanation = await client.explain(asked)
        agents = await client.agents()
    if recipe is not None:
        show_changes(console, (*changed_weights(recipe, asked.model, agents), *changed_software(recipe, agents)))
    if given.as_json:
        say(json.dumps({"request": request_settings(request), **asdict(explanation)}, ensure_ascii=False))
    else:
        print_explanation(Screen(), explanation, agents)
