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
from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageRequest, ImageSpec
from polyrhythm.job.reports import AgentUsage, JobReport
from polyrhythm.model.facts import THREADS_SOFTWARE, DeviceKind, SoftwareVersion
from polyrhythm.plan.gang_plan import spliced, steps_taken
from polyrhythm.plan.plan import Plan

PROMPT_KEY = "Description"
SOFTWARE_KEY = "Software"
SEED_KEY = "polyrhythm:seed"
STEPS_KEY = "polyrhythm:steps"
REQUEST_KEY = "polyrhythm:request"
PLAN_KEY = "polyrhythm:plan"
AGENTS_KEY = "polyrhythm:agents"
WEIGHTS_KEY = "polyrhythm:weights"

_THREADS = re.compile(r"[1-9][0-9]{0,2}")
"""Compute threads of a CPU: torch starts as many as it is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRecord:
    """What an agent computed with.

    Attributes:
        agent: its name in the plan.
        kind: CPU or CUDA.
        emulated_speed: share of its true speed that it was slowed down to; None if it ran freely.
        dtype: in which its denoiser computed.
        software: versions that decide a picture's bytes.
    """

    agent: AgentId
    kind: DeviceKind
    emulated_speed: float | None
    dtype: str
    software: tuple[SoftwareVersion, ...]

    @property
    def threads(self) -> int | None:
        """Compute threads of a CPU, which decide the order of its sums; None if it did not say."""
        said = next((each.version for each in self.software if each.name == THREADS_SOFTWARE), "")
        return int(said) if _THREADS.fullmatch(said) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that decides a picture.

    Attributes:
        request: every setting, with the plan that makes the picture; where several plans took over from one another,
            the one plan that they amount to.
        agents: what computed it; empty where the file is a bare plan.
        fingerprint: of the model that made it; empty where the file is a bare plan.
        bare: whether there is a plan and nothing else: the prompt, which may be empty, is not known.
    """

    request: ImageRequest
    agents: tuple[AgentRecord, ...] = ()
    fingerprint: str = ""
    bare: bool = False

    @property
    def plan(self) -> Plan:
        """The plan of the request."""
        assert self.request.plan is not None
        return self.request.plan

    def __repr__(self) -> str:
        kind = "bare plan" if self.bare else repr(self.request.prompt[:40])
        return f"<Recipe {kind}, {self.plan.steps} steps on {', '.join(self.plan.agents[:4])}>"


def recipe_of(image: ImageSpec, report: JobReport) -> Recipe:
    """The recipe of a picture that was just made.

    Args:
        image: what was asked for, defaults filled in.
        report: its account.
    """
    members = {agent for plan in report.plans for agent in plan.agents}
    return Recipe(
        request=request_of(image, spliced(report.plans)),
        agents=tuple(_record_of(usage) for usage in report.agents if usage.agent in members),
        fingerprint=report.fingerprint,
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
        WEIGHTS_KEY: recipe.fingerprint,
    }


def request_settings(request: ImageRequest) -> dict[str, Any]:
    """What decides one picture besides a plan, by name; None where the model or chance decides."""
    settings = asdict(replace(request, plan=None))
    # One picture, made without onlookers, by a plan that is there in full: none of these belongs to what decides it.
    for name in ("plan", "count", "preview_every_steps", "overrides", "objective"):
        del settings[name]
    return settings


def _record_of(usage: AgentUsage) -> AgentRecord:
    return AgentRecord(
        agent=usage.agent,
        kind=usage.device.kind,
        emulated_speed=usage.device.emulated_speed,
        dtype=usage.dtype,
        software=usage.software,
    )


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
