"""Reads how to make a picture again: from a PNG file that polyrhythm made, or from a JSON file with a plan.

Whatever the file holds, the answer is a recipe or an error that names file and field.
"""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.job.image import STRIDES, ImageRequest, ImageSpec
from polyrhythm.model.facts import EMULATED_SPEED_MIN
from polyrhythm.plan.plan import Plan
from polyrhythm.process.named_file import read_named
from polyrhythm_client.json_reading import UINT64, parse_json, read_as
from polyrhythm_client.recipes.png import SIGNATURE, PngError, read_texts
from polyrhythm_client.recipes.recipe import (
    AGENTS_KEY,
    PLAN_KEY,
    REQUEST_KEY,
    WEIGHTS_KEY,
    AgentRecord,
    Recipe,
    request_of,
)

FILE_BYTES_MAX = 256 << 20
"""Far beyond any picture, and what is read of a file that does not end."""
JSON_BYTES_MAX = 16 << 20
"""A plan that a message can carry is half of it."""
BOUNDS = {
    "seed": UINT64,
    "stride": STRIDES,  # before least common multiples are taken, which have no bound
}


def read_recipe(path: str | PathLike[str]) -> Recipe:
    """Reads a PNG file that polyrhythm made, or a JSON file with a plan, such as ``polyrhythm plan --json`` prints.

    Example::

        recipe = read_recipe("apple.png")
        client.picture(recipe.request).save("again.png")  # the same bytes on the same kind of devices

    Raises:
        InvalidArgumentError: the file cannot be read, or does not say how to make a picture again.
    """
    content = read_named(Path(path), "plan", FILE_BYTES_MAX)
    try:
        return _recipe_from_png(content) if content.startswith(SIGNATURE) else _recipe_from_json(content)
    except InvalidArgumentError as error:
        violations = (replace(found, description=f"{path}: {found.description}") for found in error.violations)
        raise InvalidArgumentError(*violations) from error


def _recipe_from_json(content: bytes) -> Recipe:
    """A bare plan; or what ``polyrhythm plan --json`` prints, with the request and without what is left to chance."""
    if len(content) > JSON_BYTES_MAX:
        raise InvalidArgumentError.of("plan", f"is no PNG file, and too long for a plan: over {JSON_BYTES_MAX} bytes")
    written = parse_json(content.decode("utf-8", errors="replace"), "plan")
    if not isinstance(written, dict) or "chosen" not in written:
        plan = read_as(Plan, written, "plan", BOUNDS)
        return Recipe(request=ImageRequest(prompt="", plan=plan), bare=True)
    chosen = written["chosen"]
    plan = read_as(Plan, chosen.get("plan") if isinstance(chosen, dict) else None, "plan.chosen.plan", BOUNDS)
    request = read_as(ImageRequest, written.get("request"), "plan.request", BOUNDS)
    return Recipe(request=replace(request, plan=plan))


def _recipe_from_png(content: bytes) -> Recipe:
    try:
        texts = read_texts(content)
    except PngError as error:
        raise InvalidArgumentError.of("plan", str(error)) from error
    if not {REQUEST_KEY, PLAN_KEY} <= texts.keys():
        raise InvalidArgumentError.of("plan", "does not say how it was made: not by polyrhythm, or saved anew")
    plan = read_as(Plan, parse_json(texts[PLAN_KEY], "plan"), "plan", BOUNDS)
    image = read_as(ImageSpec, parse_json(texts[REQUEST_KEY], "request"), "request", BOUNDS)
    records = parse_json(texts.get(AGENTS_KEY, "[]"), "plan.agents")
    agents = read_as(tuple[AgentRecord, ...], records, "plan.agents", BOUNDS)
    for index, agent in enumerate(agents):
        if agent.emulated_speed is not None and not EMULATED_SPEED_MIN <= agent.emulated_speed <= 1.0:
            message = f"must be from {EMULATED_SPEED_MIN:g} to 1, got {agent.emulated_speed:g}"
            raise InvalidArgumentError.of(f"plan.agents[{index}].emulated_speed", message)
    return Recipe(request=request_of(image, plan), agents=agents, fingerprint=texts.get(WEIGHTS_KEY, ""))
