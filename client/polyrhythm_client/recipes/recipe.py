"""How to make a picture again: what a PNG file carries.

Owns the keywords in the file and the JSON under them; ``recipe_file`` reads them. Nothing here depends on the time, the
job or the address, so that a picture made again is the same file.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from polyrhythm import __version__
from polyrhythm.fleet import AgentView
from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageRequest, ImageSpec
from polyrhythm.job.reports import JobReport
from polyrhythm.model.facts import DeviceKind
from polyrhythm.plan.gang_plan import spliced, steps_taken
from polyrhythm.plan.plan import Plan

PROMPT_KEY = "Description"
SOFTWARE_KEY = "Software"
SEED_KEY = "polyrhythm:seed"
STEPS_KEY = "polyrhythm:steps"
REQUEST_KEY = "polyrhythm:request"
PLAN_KEY = "polyrhythm:plan"
AGENTS_KEY = "polyrhythm:agents"
VERSIONS_KEY = "polyrhythm:versions"

THREADS_SOFTWARE = "threads"
"""Name under which an agent on a CPU lists its threads among the things that decide a picture's bytes."""

_THREADS = re.compile(r"[0-9]{1,6}")


def weights_key(model: str) -> str:
    """Name under which the fingerprint of a model's weights stands among the versions of a report."""
    return f"model {model}"


def dtype_key(model: str) -> str:
    """Name under which the arithmetic that a model was computed in stands among the versions of a report."""
    return f"dtype of {model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRecord:
    """What an agent computed on.

    Attributes:
        agent: its name in the plan.
        kind: CPU or CUDA.
        emulated_speed: share of its true speed that it was slowed down to; None if it ran freely.
        threads: compute threads of a CPU, which decide the order of its sums; None if it did not say.
    """

    agent: AgentId
    kind: DeviceKind
    emulated_speed: float | None
    threads: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that decides a picture.

    Attributes:
        request: every setting, with the plan that was followed.
        plan: that makes it; where several took over from one another, the one plan that they amount to.
        agents: what computed it; empty where the file is a bare plan.
        versions: software and models that computed it.
        bare: whether there is a plan and nothing else: the prompt, which may be empty, is not known.
    """

    request: ImageRequest
    plan: Plan
    agents: tuple[AgentRecord, ...]
    versions: tuple[tuple[str, str], ...]
    bare: bool = False


def recipe_of(image: ImageSpec, report: JobReport, agents: tuple[AgentView, ...]) -> Recipe:
    """The recipe of a picture that was just made.

    Args:
        image: what was asked for, defaults filled in.
        report: its account.
        agents: of the fleet that made it.
    """
    members = {agent for plan in report.plans for agent in plan.agents}
    request = ImageRequest(
        prompt=image.prompt,
        model=image.model,
        negative_prompt=image.negative_prompt,
        width_px=image.width_px,
        height_px=image.height_px,
        steps=image.steps,
        seed=report.seed,
        guidance=image.guidance,
        sampler=image.sampler,
        quality=image.quality,
        long_prompt=image.long_prompt,
    )
    return Recipe(
        request=request,
        plan=spliced(report.plans),
        agents=tuple(_record_of(view) for view in agents if view.agent in members),
        versions=report.versions,
    )


def recipe_texts(recipe: Recipe) -> dict[str, str]:
    """What goes into the PNG file, by keyword."""
    return {
        PROMPT_KEY: recipe.request.prompt,
        SOFTWARE_KEY: f"polyrhythm {__version__}",
        SEED_KEY: str(recipe.request.seed),
        STEPS_KEY: str(steps_taken((recipe.plan,))),
        REQUEST_KEY: _to_json(request_settings(recipe.request)),
        PLAN_KEY: _to_json(asdict(recipe.plan)),
        AGENTS_KEY: _to_json([asdict(agent) for agent in recipe.agents]),
        VERSIONS_KEY: _to_json(dict(recipe.versions)),
    }


def request_settings(request: ImageRequest) -> dict[str, Any]:
    """What decides one picture besides a plan, by name; None where the model or chance decides."""
    settings = asdict(replace(request, plan=None))
    # One picture, made without onlookers, by a plan that is there in full: none of these belongs to what decides it.
    for name in ("plan", "count", "preview_every_steps", "overrides", "objective"):
        del settings[name]
    return settings


def _record_of(view: AgentView) -> AgentRecord:
    threads = dict(view.software).get(THREADS_SOFTWARE, "")
    return AgentRecord(
        agent=view.agent,
        kind=view.device.kind,
        emulated_speed=view.device.emulated_speed,
        threads=int(threads) if _THREADS.fullmatch(threads) else None,
    )


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
