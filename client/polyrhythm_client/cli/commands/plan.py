"""``polyrhythm plan``: how a picture would be made, and why."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from rich.console import Console

from polyrhythm_client.cli import options
from polyrhythm_client.cli.image_request import image_request
from polyrhythm_client.cli.own_fleet import FleetChoice
from polyrhythm_client.cli.running import fleet_for, read_plan_file, run_command, show_changes
from polyrhythm_client.cli.tables import print_explanation
from polyrhythm_client.cli.terminal import Screen, say
from polyrhythm_client.recipes.recipe import request_settings
from polyrhythm_client.recipes.replay import changed_software, changed_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """The options of the command, as written."""

    image: options.ImageOptions
    plan_file: options.PlanFile = None
    fleet: options.FleetOptions
    as_json: options.AsJson = False


def plan(given: PlanOptions) -> None:
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
    run_command(lambda console: _plan(given, console), as_json=given.as_json)


async def _plan(given: PlanOptions, console: Console) -> None:
    from polyrhythm_client.async_client import AsyncClient

    recipe = await read_plan_file(given.plan_file)
    request = image_request(given.image, recipe)
    choice = FleetChoice(options=given.fleet, model=given.image.model, recipe=recipe)
    async with fleet_for(choice, console, quiet=given.as_json) as fleet, AsyncClient(fleet.address) as client:
        asked = replace(request, model="") if fleet.embedded else request
        explanation = await client.explain(asked)
        agents = await client.agents()
    if recipe is not None:
        show_changes(console, (*changed_weights(recipe, asked.model, agents), *changed_software(recipe, agents)))
    if given.as_json:
        say(json.dumps({"request": request_settings(request), **asdict(explanation)}, ensure_ascii=False))
    else:
        print_explanation(Screen(), explanation, agents)
