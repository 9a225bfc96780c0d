"""From options to a request: what the user wrote, over what a file to be repeated says, over the model's defaults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from polyrhythm.errors import InvalidArgumentError, WireError
from polyrhythm.fleet import AgentView
from polyrhythm.job.image import ImageRequest, ImageSpec, LongPrompt, Objective, Overrides, Quality, Sampler
from polyrhythm.job.reports import JobReport
from polyrhythm.job.request_checks import check_request, resolve
from polyrhythm_client.parsing import parse_devices, parse_size
from polyrhythm_client.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """The options that describe a picture, as written; None stands for not given."""

    prompt: str | None = None
    model: str | None = None
    negative: str | None = None
    size: str | None = None
    steps: int | None = None
    seed: int | None = None
    guidance: float | None = None
    sampler: Sampler | None = None
    quality: Quality | None = None
    objective: Objective | None = None
    long_prompt: LongPrompt | None = None
    count: int | None = None
    preview_every: int | None = None
    max_stride: int | None = None
    warmup: int | None = None
    tail: int | None = None
    loss_db: float | None = None
    devices: str | None = None


def image_request(options: ImageOptions, recipe: Recipe | None) -> ImageRequest:
    """The request, checked as far as no model is needed.

    Args:
        options: as written.
        recipe: of a picture to make again; None for a new one.

    Raises:
        InvalidArgumentError: names every field that is wrong.
    """
    given: dict[str, Any] = {
        "prompt": options.prompt,
        "model": options.model,
        "negative_prompt": options.negative,
        "steps": options.steps,
        "seed": options.seed,
        "guidance": options.guidance,
        "sampler": options.sampler,
        "quality": options.quality,
        "objective": options.objective,
        "long_prompt": options.long_prompt,
        "count": options.count,
        "preview_every_steps": options.preview_every,
    }
    overrides = Overrides(
        max_stride=options.max_stride,
        warmup_steps=options.warmup,
        tail_steps=options.tail,
        loss_db=options.loss_db,
        devices=() if options.devices is None else parse_devices(options.devices),
    )
    if overrides != Overrides():
        given["overrides"] = overrides
    if options.size is not None:
        given["width_px"], given["height_px"] = parse_size(options.size)
    base = ImageRequest(prompt="") if recipe is None else recipe.request
    if options.prompt is None and (recipe is None or recipe.bare):
        raise InvalidArgumentError.of("prompt", "must be given")
    request = replace(base, **{name: value for name, value in given.items() if value is not None})
    check_request(request)
    if options.negative and request.guidance is not None and request.guidance <= 1.0:
        told = f"has no effect with guidance {request.guidance:g}: 1 and less ignore it; leave it out"
        raise InvalidArgumentError.of("negative", told)
    return request


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
