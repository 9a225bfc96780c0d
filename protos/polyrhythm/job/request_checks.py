"""Whether a picture can be made as it is asked for, and what a request leaves to the model's defaults. Pure.

The coordinator knows no model; it checks a request against the ``ModelFacts`` that agents report. Errors name each
field once: by its path from an RPC's request on, such as ``image.width_px``, or, where a picture is checked, from that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TypeAlias

from polyrhythm.errors import FieldViolation, InvalidArgumentError
from polyrhythm.job.image import (
    COUNT_MAX,
    GUIDANCE_MAX,
    LOSS_DB_MAX,
    PROMPT_CHARACTERS_MAX,
    SEED_MAX,
    STEPS_MAX,
    STEPS_MIN,
    STRIDES,
    ImageRequest,
    ImageSpec,
    Objective,
    Quality,
)
from polyrhythm.model.facts import ModelFacts
from polyrhythm.model.request_choices import LongPrompt
from polyrhythm.plan.plan import Plan

REQUEST = "image"
"""Path of the picture in the requests of RPCs."""

STRIDE, WARMUP, TAIL, LOSS, DEVICES = (
    f"overrides.{name}" for name in ("max_stride", "warmup_steps", "tail_steps", "loss_db", "devices")
)

Wrong: TypeAlias = tuple[str, str]
"""A field of a picture, and what is wrong with it."""


def check_request(request: ImageRequest) -> None:
    """Checks what no model could allow, before any fleet is asked.

    Raises:
        InvalidArgumentError: names every offending field.
    """
    found = (
        *_wrong_texts(request.prompt, request.negative_prompt),
        *_wrong_values(request.steps, request.seed, request.guidance, request.preview_every_steps),
        *_wrong_count(request.count, request.seed or 0),
        *_wrong_overrides(request),
    )
    _refuse(found, within=f"{REQUEST}.")


def check_image(image: ImageSpec, facts: ModelFacts) -> None:
    """Checks a picture against a model's limits; token counts are checked where the tokenizer is.

    Raises:
        InvalidArgumentError: names every offending field.
    """
    _refuse(_wrong_with_image(image, facts))


def resolve(request: ImageRequest, facts: ModelFacts, seed: int) -> ImageSpec:
    """Fills in a model's defaults and checks the whole request against its limits.

    Args:
        request: what the user asks for.
        facts: of the model that will make it.
        seed: drawn by the caller; used where the request names none.

    Returns:
        The first picture; further ones take the seeds after it.

    Raises:
        InvalidArgumentError: names every offending field.
    """
    plan_steps = facts.default_steps if request.plan is None else request.plan.steps
    image = ImageSpec(
        model=facts.name,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width_px=facts.default_width_px if request.width_px is None else request.width_px,
        height_px=facts.default_height_px if request.height_px is None else request.height_px,
        steps=plan_steps if request.steps is None else request.steps,
        seed=seed if request.seed is None else request.seed,
        guidance=facts.default_guidance if request.guidance is None else request.guidance,
        sampler=facts.samplers[0] if request.sampler is None else request.sampler,
        quality=Quality.BALANCED if request.quality is None else request.quality,
        preview_every_steps=request.preview_every_steps,
        overrides=request.overrides,
        objective=Objective.LATENCY if request.objective is None else request.objective,
        long_prompt=LongPrompt.REFUSE if request.long_prompt is None else request.long_prompt,
    )
    found = (
        *_wrong_with_image(image, facts),
        *_wrong_count(request.count, image.seed),
        *_wrong_plan(request.plan, image, facts),
        *_wrong_overrides(request),
        *_wrong_phases(image),
        *_wrong_at_full_rate(image, facts),
        *_wrong_loss(image, facts),
    )
    _refuse(found, within=f"{REQUEST}.")
    return image


def _refuse(found: Iterable[Wrong], within: str = "") -> None:
    """Raises InvalidArgumentError with each field once, and what was found first of it."""
    once: dict[str, str] = {}
    for field, description in found:
        once.setdefault(f"{within}{field}", description)
    if once:
        raise InvalidArgumentError(
            *(FieldViolation(field=field, description=description) for field, description in once.items())
        )


def _wrong_with_image(image: ImageSpec, facts: ModelFacts) -> Iterator[Wrong]:
    yield from _wrong_texts(image.prompt, image.negative_prompt)
    yield from _wrong_values(image.steps, image.seed, image.guidance, image.preview_every_steps)
    yield from _wrong_for_model(image, facts)


def _wrong_texts(prompt: str, negative_prompt: str) -> Iterator[Wrong]:
    for field, text in (("prompt", prompt), ("negative_prompt", negative_prompt)):
        if len(text) > PROMPT_CHARACTERS_MAX:
            yield field, f"at most {PROMPT_CHARACTERS_MAX} characters, got {len(text)}"


def _wrong_values(steps: int | None, seed: int | None, guidance: float | None, preview_every_steps: int) -> list[Wrong]:
    rules = (
        (steps is None or STEPS_MIN <= steps <= STEPS_MAX, "steps", f"must be {STEPS_MIN}..{STEPS_MAX}, got {steps}"),
        (seed is None or 0 <= seed <= SEED_MAX, "seed", f"must be 0..2^64-1, got {seed}"),
        (
            guidance is None or 0.0 <= guidance <= GUIDANCE_MAX,
            "guidance",
            f"must be 0..{GUIDANCE_MAX:g}, got {guidance}",
        ),
        (preview_every_steps >= 0, "preview_every_steps", f"must not be negative: {preview_every_steps}"),
    )
    return [(field, description) for holds, field, description in rules if not holds]


def _wrong_for_model(image: ImageSpec, facts: ModelFacts) -> list[Wrong]:
    multiple, size = facts.pixel_multiple, f"{image.width_px}x{image.height_px}"
    rules = [
        (
            value_px > 0 and value_px % multiple == 0,
            f"{axis}_px",
            f"{axis} must be a positive multiple of {multiple} pixels, got {value_px}",
        )
        for axis, value_px in (("width", image.width_px), ("height", image.height_px))
    ]
    rules += [
        (
            image.width_px * image.height_px <= facts.pixels_max,
            "width_px",
            f"at most {facts.pixels_max} pixels in all, got {size}",
        ),
        (
            image.width_px == image.height_px or not facts.square_only,
            "width_px",
            f"{facts.name} makes square pictures only, got {size}",
        ),
        (
            image.sampler in facts.samplers,
            "sampler",
            f"{image.sampler} is not offered by {facts.name}; it offers {', '.join(facts.samplers)}",
        ),
        (
            image.long_prompt in {LongPrompt.REFUSE, *facts.long_prompts},
            "long_prompt",
            f"{facts.name} offers {' and '.join((LongPrompt.REFUSE, *facts.long_prompts))}, got {image.long_prompt}",
        ),
    ]
    return [(field, description) for holds, field, description in rules if not holds]


def _wrong_count(count: int, seed: int) -> Iterator[Wrong]:
    if not 1 <= count <= COUNT_MAX:
        yield "count", f"must be 1..{COUNT_MAX}, got {count}"
    elif seed <= SEED_MAX < seed + count - 1:
        yield "seed", f"the last of {count} pictures would leave 0..2^64-1"


def _wrong_plan(plan: Plan | None, image: ImageSpec, facts: ModelFacts) -> Iterator[Wrong]:
    if plan is None:
        return
    told = (*_plan_strides(plan, image, facts), *_plan_moves(plan, facts), *_inexact_plan(plan, image))
    pairs = (
        ("begins at step", plan.begin_step, "a whole picture at", 0),
        ("has steps:", plan.steps, "the picture", image.steps),
        ("has rows:", plan.row_count, "the picture", facts.row_count(image.height_px)),
    )
    told += tuple(f"{what} {has}, {against} {wanted}" for what, has, against, wanted in pairs if has != wanted)
    if told:
        yield "plan", "; ".join(told)


def _plan_strides(plan: Plan, image: ImageSpec, facts: ModelFacts) -> Iterator[str]:
    stride = max(assignment.stride for segment in plan.segments for assignment in segment.assignments)
    if stride > 1 and image.sampler in facts.full_rate_samplers:
        yield f"has stride {stride}, {image.sampler} takes stride 1 only"


def _plan_moves(plan: Plan, facts: ModelFacts) -> Iterator[str]:
    for before, after in pairwise(plan.segments):
        moved = [a.rows for a in before.assignments] != [a.rows for a in after.assignments]
        if facts.resync_after_move and after.reads_stale and moved:
            yield f"moves rows at step {after.begin_step}, which must be synchronous for this model"


def _inexact_plan(plan: Plan, image: ImageSpec) -> Iterator[str]:
    inexact = (
        part.begin_step
        for part in plan.segments
        if part.reads_stale or any(held.stride > 1 for held in part.assignments if held.rows.count)
    )
    step = next(inexact, None)
    if image.quality is Quality.EXACT and step is not None:
        yield f"is not exact from step {step} on, as quality exact wants it"


def _wrong_phases(image: ImageSpec) -> list[Wrong]:
    """Warm-up and tail, where the user gives them, leave steps between them."""
    steps, warmup, tail = image.steps, image.overrides.warmup_steps, image.overrides.tail_steps
    found = [
        (field, f"must be less than the picture's {steps} steps, got {value}")
        for field, value in ((WARMUP, warmup), (TAIL, tail))
        if value is not None and value >= steps
    ]
    if not found and warmup is not None and tail is not None and warmup + tail >= steps:
        told = f"must leave some of {steps} steps beside {warmup} of warm-up, got {tail}"
        found.append((TAIL, told))
    return found


def _wrong_loss(image: ImageSpec, facts: ModelFacts) -> Iterator[Wrong]:
    """A loss is held by prediction, so there must be one for the model and the sampler."""
    calibrated = any(calibration.sampler == image.sampler for calibration in facts.calibrations)
    if image.overrides.loss_db is None or calibrated or image.sampler in facts.full_rate_samplers:
        return  # the last of these is refused for another reason
    yield (
        LOSS,
        f"{facts.name} is not calibrated for {image.sampler}: polyrhythm calibrate measures what a loss is held by",
    )


def _wrong_at_full_rate(image: ImageSpec, facts: ModelFacts) -> list[Wrong]:
    """With a sampler that takes every step, nothing that is about skipped ones has an effect."""
    if image.sampler not in facts.full_rate_samplers:
        return []
    overrides = image.overrides
    given = (
        (STRIDE, (overrides.max_stride or 1) > 1),
        (TAIL, overrides.tail_steps is not None),
        (LOSS, overrides.loss_db is not None),
    )
    told = f"{image.sampler} makes every step on every device, so that none is skipped; leave it out"
    return [(field, told) for field, wrong in given if wrong]


def _phase_rules(request: ImageRequest) -> tuple[tuple[bool, str, str], ...]:
    """What holds of warm-up and tail whatever the model: each with its field and what to say where it does not."""
    overrides, quality = request.overrides, request.quality
    warmup, tail = overrides.warmup_steps, overrides.tail_steps
    exact = "quality exact runs every step on every device, and in all of them they wait for each other; leave it out"
    if quality is Quality.EXACT:
        no_tail = exact
    elif quality is Quality.HIGH:
        no_tail = "quality high runs every step on every device, so that the last ones are no others; leave it out"
    else:
        no_tail = "max_stride 1 skips no step, so that the last ones are no others; leave one of them out"
    every_step = quality in {Quality.EXACT, Quality.HIGH} or overrides.max_stride == 1
    return (
        (warmup is None or 1 <= warmup <= STEPS_MAX, WARMUP, f"must be 1..{STEPS_MAX}, got {warmup}"),
        (quality is not Quality.EXACT or warmup is None, WARMUP, exact),
        (tail is None or not every_step, TAIL, no_tail),
        (tail is None or 0 <= tail <= STEPS_MAX, TAIL, f"must be 0..{STEPS_MAX}, got {tail}"),
    )


def _loss_rules(request: ImageRequest) -> tuple[tuple[bool, str, str], ...]:
    """What holds of a loss whatever the model: each with its field and what to say where it does not."""
    loss_db = request.overrides.loss_db
    unmoved = request.quality in {Quality.EXACT, Quality.HIGH}
    return (
        (
            loss_db is None or 0 < loss_db <= LOSS_DB_MAX,
            LOSS,
            f"must be above 0 and at most {LOSS_DB_MAX:g}, got {loss_db}",
        ),
        (
            not (unmoved and loss_db is not None),
            LOSS,
            f"quality {request.quality} runs every step on every device; leave it out or ask for balanced or fast",
        ),
    )


def _wrong_overrides(request: ImageRequest) -> list[Wrong]:
    overrides = request.overrides
    given = {
        STRIDE: overrides.max_stride,
        WARMUP: overrides.warmup_steps,
        TAIL: overrides.tail_steps,
        LOSS: overrides.loss_db,
        DEVICES: overrides.devices or None,
        "objective": request.objective,
    }
    if request.plan is not None:
        told = "cannot be given with a plan, which says it already"
        return [(field, told) for field, value in given.items() if value is not None]
    unmoved = request.quality in {Quality.EXACT, Quality.HIGH}
    rules = (
        (
            overrides.max_stride is None or overrides.max_stride in STRIDES,
            STRIDE,
            f"must be one of {', '.join(map(str, STRIDES))}, got {overrides.max_stride}",
        ),
        (
            not (unmoved and (overrides.max_stride or 1) > 1),
            STRIDE,
            f"quality {request.quality} runs every step on every device; leave it out or ask for balanced or fast",
        ),
        *_loss_rules(request),
        *_phase_rules(request),
        (
            len(set(overrides.devices)) == len(overrides.devices) and all(overrides.devices),
            DEVICES,
            f"must name each agent once, got {', '.join(overrides.devices)}",
        ),
    )
    return [(field, description) for holds, field, description in rules if not holds]
