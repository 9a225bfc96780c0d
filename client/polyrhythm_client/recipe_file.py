"""Reads how to make a picture again: from a PNG file that polyrhythm made, or from a JSON file with a plan.

Whatever the file holds, the answer is a recipe or an error that names the field.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.facts import DeviceKind
from polyrhythm.gang_plan import spliced
from polyrhythm.ids import AgentId
from polyrhythm.image import ImageRequest, Quality, Sampler
from polyrhythm.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.rows import RowRange
from polyrhythm_client.json_fields import JsonFields, meaning
from polyrhythm_client.png import SIGNATURE, PngError, read_texts
from polyrhythm_client.recipe import AGENTS_KEY, PLAN_KEY, REQUEST_KEY, VERSIONS_KEY, AgentRecord, Recipe


def read_recipe(path: Path) -> Recipe:
    """Reads a PNG file that polyrhythm made, or a JSON file with a plan, such as ``polyrhythm plan --json`` prints.

    Raises:
        InvalidArgumentError: the file cannot be read, or does not say how to make a picture again.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidArgumentError.of("plan", f"cannot read {path}: {error.strerror}") from error
    if content.startswith(SIGNATURE):
        return _recipe_from_png(content, path)
    written = _parse(content.decode("utf-8", errors="replace"), "plan")
    if isinstance(written, dict) and "chosen" in written:
        written = JsonFields(written, "plan").object("chosen").value("plan")
    plan = plan_from_json(written, "plan")
    return Recipe(request=ImageRequest(prompt="", plan=plan), plan=plan, agents=(), versions=(), bare=True)


def plan_from_json(value: object, path: str) -> Plan:
    """Reads a plan as ``recipe_texts`` and ``polyrhythm plan --json`` write it.

    Raises:
        InvalidArgumentError: names the field that means nothing.
    """
    fields = JsonFields(value, path)
    segments = tuple(_segment(segment) for segment in fields.objects("segments"))
    with meaning(path):
        return Plan(
            version=fields.integer("version"),
            begin_step=fields.integer("begin_step"),
            steps=fields.integer("steps"),
            segments=segments,
            encoder=AgentId(fields.text("encoder")),
            decoder=AgentId(fields.text("decoder")),
        )


def _segment(fields: JsonFields) -> Segment:
    with meaning(fields.path):
        return Segment(
            begin_step=fields.integer("begin_step"),
            end_step=fields.integer("end_step"),
            beat_steps=fields.integer("beat_steps"),
            exchange=Exchange(fields.text("exchange")),
            assignments=tuple(
                Assignment(
                    agent=AgentId(share.text("agent")),
                    rows=RowRange(begin=share.object("rows").integer("begin"), end=share.object("rows").integer("end")),
                    stride=share.integer("stride"),
                )
                for share in fields.objects("assignments")
            ),
        )


def _recipe_from_png(content: bytes, path: Path) -> Recipe:
    try:
        texts = read_texts(content)
    except PngError as error:
        raise InvalidArgumentError.of("plan", f"{path}: {error}") from error
    if not {REQUEST_KEY, PLAN_KEY} <= texts.keys():
        raise InvalidArgumentError.of("plan", f"{path} does not say how it was made: not by polyrhythm, or saved anew")
    written = _parse(texts[PLAN_KEY], "plan")
    if isinstance(written, list):  # files of earlier versions list the plans that took over from one another
        plans = tuple(plan_from_json(plan, f"plan[{index}]") for index, plan in enumerate(written))
        with meaning("plan"):
            plan = spliced(plans)
    else:
        plan = plan_from_json(written, "plan")
    settings = JsonFields(_parse(texts[REQUEST_KEY], "request"), "request")
    agents = JsonFields({"agents": _parse(texts.get(AGENTS_KEY, "[]"), "agents")}, "plan").objects("agents")
    versions = JsonFields(_parse(texts.get(VERSIONS_KEY, "{}"), "versions"), "versions")
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
            width_px=fields.integer("width_px"),
            height_px=fields.integer("height_px"),
            steps=fields.integer("steps"),
            seed=fields.integer("seed"),
            guidance=fields.number("guidance"),
            sampler=Sampler(fields.text("sampler")),
            quality=Quality(fields.text("quality")),
            plan=plan,
        )


def _agent(fields: JsonFields) -> AgentRecord:
    with meaning(fields.path):
        return AgentRecord(
            agent=AgentId(fields.text("agent")),
            kind=DeviceKind(fields.text("kind")),
            emulated_speed=fields.number("emulated_speed") if "emulated_speed" in fields else None,
            threads=fields.integer("threads") if "threads" in fields else None,
        )


def _parse(text: str, path: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidArgumentError.of(path, f"is neither a PNG file nor JSON: {error}") from error
