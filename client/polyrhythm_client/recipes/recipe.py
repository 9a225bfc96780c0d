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
from polyrhythm.errors import WireError
from polyrhythm.fleet import AgentView
from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageRequest, ImageSpec
from polyrhythm.job.reports import JobReport
from polyrhythm.job.request_checks import resolve
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
"""The name of a CPU agent's threads among the software versions that it reports: they decide a picture's bytes."""

_THREADS = re.compile(r"[0-9]{1,6}")


def weights_key(model: str) -> str:
    """The name of the fingerprint of a model's weights among the versions of a report."""
    return f"model {model}"


def dtype_key(model: str) -> str:
    """The name of the dtype that a model was computed in among the versions of a report."""
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
        request: every setting, with the plan that makes the picture; where several plans took over from one another,
            the one plan that they amount to.
        agents: what computed it; empty where the file is a bare plan.
        versions: software and models that computed it.
        bare: whether there is a plan and nothing else: the prompt, which may be empty, is not known.
    """

    request: ImageRequest
    agents: tuple[AgentRecord, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    bare: bool = False

    @property
    def plan(self) -> Plan:
        """The plan of the request."""
        assert self.request.plan is not None
        return self.request.plan

    def __repr__(self) -> str:
        kind = "bare plan" if self.bare else repr(self.request.prompt[:40])
        return f"<Recipe {kind}, {self.plan.steps} steps on {', '.join(self.plan.agents[:4])}>"


def recipe_of(image: ImageSpec, report: JobReport, agents: tuple[AgentView, ...]) -> Recipe:
    """The recipe of a picture that was just made.

    Args:
        image: what was asked for, defaults filled in.
        report: its account.
        agents: of the fleet that made it.
    """
    members = {agent for plan in report.plans for agent in plan.agents}
    return Recipe(
        request=request_of(image, spliced(report.plans)),
        agents=tuple(_record_of(view) for view in agents if view.agent in members),
        versions=report.versions,
    )


def request_of(image: ImageSpec, plan: Plan) -> ImageRequest:
    """Asks for the same picture by a plan: without previews, and without what a plan says already."""
    return ImageRequest(
        prompt=image.prompt,
        model=image.model,
        negative_prompt=image.negative_prompt,
        width_px=image.width_px,
        height_px=image.height_px,
        steps=image.steps,
        seed=image.seed,
        guidance=image.guidance,
        sampler=image.sampler,
        quality=image.quality,
        long_prompt=image.long_prompt,
        plan=plan,
    )


def resolved_image(request: ImageRequest, report: JobReport, agents: tuple[AgentView, ...]) -> ImageSpec:
    """The request with the defaults that the fleet filled in.

    Args:
        request: as it was sent.
        report: of the picture.
        agents: of the fleet, with the facts of the model.

    Raises:
        WireError: no agent that took part lists the model.
    """
    members = {usage.agent for usage in report.agents}
    offered = [model for view in agents if view.agent in members for model in view.models]
    facts = next((model for model in offered if request.model in ("", model.model)), None)
    if facts is None:
        raise WireError(f"agents: none of {', '.join(sorted(members))} lists the model that it worked with")
    return resolve(replace(request, seed=report.seed, count=1), facts, report.seed)


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
