"""Reads how to make a picture again: from a PNG file that polyrhythm made, or from a JSON file with a plan.

Whatever the file holds, the answer is a recipe or an error that names file and field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import STRIDES, ImageRequest, LongPrompt, Quality, Sampler
from polyrhythm.model.facts import EMULATED_SPEED_MIN, DeviceKind
from polyrhythm.plan.gang_plan import spliced
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.rows import RowRange
from polyrhythm.process.named_file import read_named
from polyrhythm_client.json_fields import INT32, UINT64, JsonFields, meaning, parse_json
from polyrhythm_client.recipes.png import SIGNATURE, PngError, read_texts
from polyrhythm_client.recipes.recipe import AGENTS_KEY, PLAN_KEY, REQUEST_KEY, VERSIONS_KEY, AgentRecord, Recipe

T = TypeVar("T")

FILE_BYTES_MAX = 256 << 20
"""Far beyond any picture, and what is read of a file that does not end."""
THREADS = range(1, 1025)
"""Compute threads of a CPU: torch starts as many as it is told."""
JSON_BYTES_MAX = 16 << 20
"""A plan that a message can carry is half of it."""


def read_recipe(path: Path) -> Recipe:
    """Reads a PNG file that polyrhythm made, or a JSON file with a plan, such as ``polyrhythm plan --json`` prints.

    Raises:
        InvalidArgumentError: the file cannot be read, or does not say how to make a picture again.
    """
    content = read_named(path, "plan", FILE_BYTES_MAX)
    try:
        return _recipe_from_png(content) if content.startswith(SIGNATURE) else _recipe_from_json(content)
    except InvalidArgumentError as error:
        violations = (replace(found, description=f"{path}: {found.description}") for found in error.violations)
        raise InvalidArgumentError(*violations) from error


def plan_from_json(value: object, path: str) -> Plan:
    """Reads a plan as ``recipe_texts`` and ``polyrhythm plan --json`` write it.

    Raises:
        InvalidArgumentError: names the field that means nothing.
    """
    fields = JsonFields(value, path)
    segments = tuple(_segment(segment) for segment in fields.objects("segments"))
    with meaning(path):
        return Plan(
            version=fields.integer("version", INT32),
            begin_step=fields.integer("begin_step", INT32),
            steps=fields.integer("steps", INT32),
            segments=segments,
            encoder=AgentId(fields.text("encoder")),
            decoder=AgentId(fields.text("decoder")),
        )


def _segment(fields: JsonFields) -> Segment:
    with meaning(fields.path):
        return Segment(
            begin_step=fields.integer("begin_step", INT32),
            end_step=fields.integer("end_step", INT32),
            beat_steps=fields.integer("beat_steps", INT32),
            exchange=Exchange(fields.text("exchange")),
            assignments=tuple(map(_assignment, fields.objects("assignments"))),
        )


def _assignment(fields: JsonFields) -> Assignment:
    rows, stride = fields.object("rows"), fields.integer("stride", INT32)
    if stride not in STRIDES:  # before least common multiples are taken, which have no bound
        told = f"must be one of {', '.join(map(str, STRIDES))}, got {stride}"
        raise InvalidArgumentError.of(f"{fields.path}.stride", told)
    return Assignment(
        agent=AgentId(fields.text("agent")),
        rows=RowRange(begin=rows.integer("begin", INT32), end=rows.integer("end", INT32)),
        stride=stride,
    )


def _recipe_from_json(content: bytes) -> Recipe:
    """A bare plan; or what ``polyrhythm plan --json`` prints, with the request and without what is left to chance."""
    if len(content) > JSON_BYTES_MAX:
        raise InvalidArgumentError.of("plan", f"is no PNG file, and too long for a plan: over {JSON_BYTES_MAX} bytes")
    written = parse_json(content.decode("utf-8", errors="replace"), "plan")
    if not isinstance(written, dict) or "chosen" not in written:
        plan = plan_from_json(written, "plan")
        return Recipe(request=ImageRequest(prompt="", plan=plan), plan=plan, agents=(), versions=(), bare=True)
    explained = JsonFields(written, "plan")
    plan = plan_from_json(explained.object("chosen").value("plan"), "plan")
    bare = "request" not in explained  # so printed earlier versions it
    request = ImageRequest(prompt="", plan=plan) if bare else _asked(explained.object("request"), plan)
    return Recipe(request=request, plan=plan, agents=(), versions=(), bare=bare)


def _recipe_from_png(content: bytes) -> Recipe:
    try:
        texts = read_texts(content)
    except PngError as error:
        raise InvalidArgumentError.of("plan", str(error)) from error
    if not {REQUEST_KEY, PLAN_KEY} <= texts.keys():
        raise InvalidArgumentError.of("plan", "does not say how it was made: not by polyrhythm, or saved anew")
    written = parse_json(texts[PLAN_KEY], "plan")
    if isinstance(written, list):  # files of earlier versions list the plans that took over from one another
        plans = tuple(plan_from_json(plan, f"plan[{index}]") for index, plan in enumerate(written))
        with meaning("plan"):
            plan = spliced(plans)
    else:
        plan = plan_from_json(written, "plan")
    settings = JsonFields(parse_json(texts[REQUEST_KEY], "request"), "request")
    agents = JsonFields({"agents": parse_json(texts.get(AGENTS_KEY, "[]"), "agents")}, "plan").objects("agents")
    versions = JsonFields(parse_json(texts.get(VERSIONS_KEY, "{}"), "versions"), "versions")
    return Recipe(
        request=_request(settings, plan),
        plan=plan,
        agents=tuple(_agent(agent) for agent in agents),
        versions=tuple((name, versions.text(name)) for name in versions.names()),
    )


def _request(fields: JsonFields, plan: Plan) -> ImageRequest:
    with meaning(fields.path):
        return ImageRequest(
            prompt=fields.text("prompt"),
            model=fields.text("model"),
            negative_prompt=fields.text("negative_prompt"),
            width_px=fields.integer("width_px", INT32),
            height_px=fields.integer("height_px", INT32),
            steps=fields.integer("steps", INT32),
            seed=fields.integer("seed", UINT64),
            guidance=fields.number("guidance"),
            sampler=Sampler(fields.text("sampler")),
            quality=Quality(fields.text("quality")),
            long_prompt=_long_prompt(fields),
            plan=plan,
        )


def _asked(fields: JsonFields, plan: Plan) -> ImageRequest:
    """What was asked for when the plan was made; what the model or chance decides is not there."""

    def held(read: Callable[[str], T], name: str) -> T | None:
        return read(name) if name in fields else None

    with meaning(fields.path):
        sampler, quality = held(fields.text, "sampler"), held(fields.text, "quality")
        return ImageRequest(
            prompt=fields.text("prompt"),
            model=held(fields.text, "model") or "",
            negative_prompt=held(fields.text, "negative_prompt") or "",
            width_px=held(partial(fields.integer, within=INT32), "width_px"),
            height_px=held(partial(fields.integer, within=INT32), "height_px"),
            steps=held(partial(fields.integer, within=INT32), "steps"),
            seed=held(partial(fields.integer, within=UINT64), "seed"),
            guidance=held(fields.number, "guidance"),
            sampler=None if sampler is None else Sampler(sampler),
            quality=None if quality is None else Quality(quality),
            long_prompt=_long_prompt(fields),
            plan=plan,
        )


def _long_prompt(fields: JsonFields) -> LongPrompt | None:
    """Files of earlier versions say nothing of it: long prompts were refused."""
    return LongPrompt(fields.text("long_prompt")) if "long_prompt" in fields else None


def _agent(fields: JsonFields) -> AgentRecord:
    speed = fields.number("emulated_speed") if "emulated_speed" in fields else None
    if speed is not None and not EMULATED_SPEED_MIN <= speed <= 1.0:
        detail = f"must be from {EMULATED_SPEED_MIN:g} to 1, got {speed:g}"
        raise InvalidArgumentError.of(f"{fields.path}.emulated_speed", detail)
    with meaning(fields.path):
        return AgentRecord(
            agent=AgentId(fields.text("agent")),
            kind=DeviceKind(fields.text("kind")),
            emulated_speed=speed,
            threads=fields.integer("threads", THREADS) if "threads" in fields else None,
        )
