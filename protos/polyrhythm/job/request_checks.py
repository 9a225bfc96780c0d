"""Whether a picture can be made as it is asked for, and what a request leaves to the model's defaults. Pure.

The coordinator knows no model; it checks a request against the ``ModelFacts`` that agents report.
"""

from __future__ import annotations

from itertools import pairwise

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
    LongPrompt,
    Objective,
    Quality,
    Sampler,
)
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.plan import Plan


def check_request(request: ImageRequest) -> None:
    """Checks what no model could allow, before any fleet is asked.

    Raises:
        InvalidArgumentError: names every offending field.
    """
    found = [
        *_text_violations(request.prompt, request.negative_prompt),
        *_value_violations(request.steps, request.seed, request.guidance, request.preview_every_steps),
        *_count_violations(request.count, request.seed or 0),
        *_override_violations(request),
    ]
    if found:
        raise InvalidArgumentError(*found)


def check_image(image: ImageSpec, facts: ModelFacts) -> None:
    """Checks a request against a model's limits; token counts are checked where the tokenizer is.

    Raises:
        InvalidArgumentError: names every offending field.
    """
    found = [
        *_text_violations(image.prompt, image.negative_prompt),
        *_value_violations(image.steps, image.seed, image.guidance, image.preview_every_steps),
        *_model_violations(image, facts),
    ]
    if found:
        raise InvalidArgumentError(*found)


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
        model=facts.model,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width_px=facts.default_width_px if request.width_px is None else request.width_px,
        height_px=facts.default_height_px if request.height_px is None else request.height_px,
        steps=plan_steps if request.steps is None else request.steps,
        seed=seed if request.seed is None else request.seed,
        guidance=facts.default_guidance if request.guidance is None else request.guidance,
        sampler=_default_sampler(facts) if request.sampler is None else request.sampler,
        quality=Quality.BALANCED if request.quality is None else request.quality,
        preview_every_steps=request.preview_every_steps,
        overrides=request.overrides,
        objective=Objective.LATENCY if request.objective is None else request.objective,
        long_prompt=LongPrompt.REFUSE if request.long_prompt is None else request.long_prompt,
    )
    found = [
        *_count_violations(request.count, image.seed),
        *_plan_violations(request.plan, image, facts),
        *_override_violations(request),
        *_phase_violations(image),
        *_full_rate_violations(image, facts),
        *_loss_violations(image, facts),
    ]
    try:
        check_image(image, facts)
    except InvalidArgumentError as error:
        found = [*error.violations, *found]
    if found:
        raise InvalidArgumentError(*found)
    return image


def _default_sampler(facts: ModelFacts) -> Sampler:
    """A model's first sampler that this version knows: a newer agent may put others before it.

    If it offers none, any will do: ``check_image`` refuses every sampler that is not offered, and names those that are.
    """
    known = (sampler for name in facts.samplers for sampler in Sampler if sampler == name)
    return next(known, Sampler.DDIM)


def _text_violations(prompt: str, negative_prompt: str) -> list[FieldViolation]:
    return [
        FieldViolation(field=field, description=f"at most {PROMPT_CHARACTERS_MAX} characters, got {len(text)}")
        for field, text in (("prompt", prompt), ("negative_prompt", negative_prompt))
        if len(text) > PROMPT_CHARACTERS_MAX
    ]


def _value_violations(
    steps: int | None, seed: int | None, guidance: float | None, preview_every_steps: int
) -> list[FieldViolation]:
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
    return [FieldViolation(field=field, description=description) for holds, field, description in rules if not holds]


def _model_violations(image: ImageSpec, facts: ModelFacts) -> list[FieldViolation]:
    multiple = facts.pixel_multiple
    rules = [
        (
            value_px > 0 and value_px % multiple == 0,
            "size",
            f"{axis} must be a positive multiple of {multiple} pixels, got {value_px}",
        )
        for axis, value_px in (("width", image.width_px), ("height", image.height_px))
    ]
    rules += [
        (
            image.width_px * image.height_px <= facts.pixels_max,
            "size",
            f"at most {facts.pixels_max} pixels, got {image.width_px}x{image.height_px}",
        ),
        (
            image.width_px == image.height_px or not facts.square_only,
            "size",
            f"{facts.model} makes square pictures only, got {image.width_px}x{image.height_px}",
        ),
        (
            image.sampler in facts.samplers,
            "sampler",
            f"{image.sampler} is not offered by {facts.model}; it offers {', '.join(facts.samplers)}",
        ),
        (
            image.long_prompt in {LongPrompt.REFUSE, *facts.long_prompts},
            "long_prompt",
            f"{facts.model} offers {' and '.join((LongPrompt.REFUSE, *facts.long_prompts))}, got {image.long_prompt}",
        ),
    ]
    return [FieldViolation(field=field, description=description) for holds, field, description in rules if not holds]


def _count_violations(count: int, seed: int) -> list[FieldViolation]:
    if not 1 <= count <= COUNT_MAX:
        return [FieldViolation(field="count", description=f"must be 1..{COUNT_MAX}, got {count}")]
    if seed <= SEED_MAX < seed + count - 1:
        return [FieldViolation(field="seed", description=f"the last of {count} pictures would leave 0..2^64-1")]
    return []


def _plan_violations(plan: Plan | None, image: ImageSpec, facts: ModelFacts) -> list[FieldViolation]:
    if plan is None:
        return []
    found = [
        *_stride_violations(plan, image, facts),
        *_move_violations(plan, facts),
        *_inexact_violations(plan, image),
    ]
    pairs = (
        ("begins at step", plan.begin_step, "a whole picture at", 0),
        ("has steps:", plan.steps, "the picture", image.steps),
        ("has rows:", plan.row_count, "the picture", facts.row_count(image.height_px)),
    )
    found += [
        FieldViolation(field="plan", description=f"{what} {has}, {against} {wanted}")
        for what, has, against, wanted in pairs
        if has != wanted
    ]
    return found


def _stride_violations(plan: Plan, image: ImageSpec, facts: ModelFacts) -> list[FieldViolation]:
    stride = max(assignment.stride for segment in plan.segments for assignment in segment.assignments)
    if stride == 1 or image.sampler not in facts.full_rate_samplers:
        return []
    return [FieldViolation(field="plan", description=f"has stride {stride}, {image.sampler} takes stride 1 only")]


def _move_violations(plan: Plan, facts: ModelFacts) -> list[FieldViolation]:
    if not facts.resync_after_move:
        return []
    return [
        FieldViolation(
            field="plan", description=f"moves rows at step {after.begin_step}, which must be synchronous for this model"
        )
        for before, after in pairwise(plan.segments)
        if after.reads_stale and [a.rows for a in before.assignments] != [a.rows for a in after.assignments]
    ]


def _inexact_violations(plan: Plan, image: ImageSpec) -> list[FieldViolation]:
    if image.quality is not Quality.EXACT:
        return []
    step = next(
        (
            part.begin_step
            for part in plan.segments
            if part.reads_stale or any(held.stride > 1 for held in part.assignments if held.rows.count)
        ),
        None,
    )
    if step is None:
        return []
    return [FieldViolation(field="plan", description=f"is not exact from step {step} on, as quality exact wants it")]


def _phase_violations(image: ImageSpec) -> list[FieldViolation]:
    """Warm-up and tail, where the user gives them, leave steps between them."""
    steps, warmup, tail = image.steps, image.overrides.warmup_steps, image.overrides.tail_steps
    found = [
        FieldViolation(field=field, description=f"must be less than the picture's {steps} steps, got {value}")
        for field, value in (("warmup", warmup), ("tail", tail))
        if value is not None and value >= steps
    ]
    if not found and warmup is not None and tail is not None and warmup + tail >= steps:
        told = f"must leave some of {steps} steps beside {warmup} of warm-up, got {tail}"
        found.append(FieldViolation(field="tail", description=told))
    return found


def _loss_violations(image: ImageSpec, facts: ModelFacts) -> list[FieldViolation]:
    """A loss is held by prediction, so there must be one for the model and the sampler."""
    calibrated = any(calibration.sampler == image.sampler for calibration in facts.calibrations)
    if image.overrides.loss_db is None or calibrated or image.sampler in facts.full_rate_samplers:
        return []  # the last of these is refused for another reason
    told = f"{facts.model} is not calibrated for {image.sampler}: polyrhythm calibrate measures what a loss is held by"
    return [FieldViolation(field="loss_db", description=told)]


def _full_rate_violations(image: ImageSpec, facts: ModelFacts) -> list[FieldViolation]:
    """With a sampler that takes every step, nothing that is about skipped ones has an effect."""
    if image.sampler not in facts.full_rate_samplers:
        return []
    overrides = image.overrides
    given = (
        ("max_stride", (overrides.max_stride or 1) > 1),
        ("tail", overrides.tail_steps is not None),
        ("loss_db", overrides.loss_db is not None),
    )
    told = f"{image.sampler} makes every step on every device, so that none is skipped; leave it out"
    return [FieldViolation(field=field, description=told) for field, wrong in given if wrong]


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
        (warmup is None or 1 <= warmup <= STEPS_MAX, "warmup", f"must be 1..{STEPS_MAX}, got {warmup}"),
        (quality is not Quality.EXACT or warmup is None, "warmup", exact),
        (tail is None or not every_step, "tail", no_tail),
        (tail is None or 0 <= tail <= STEPS_MAX, "tail", f"must be 0..{STEPS_MAX}, got {tail}"),
    )


def _loss_rules(request: ImageRequest) -> tuple[tuple[bool, str, str], ...]:
    """What holds of a loss whatever the model: each with its field and what to say where it does not."""
    loss_db = request.overrides.loss_db
    unmoved = request.quality in {Quality.EXACT, Quality.HIGH}
    return (
        (
            loss_db is None or 0 < loss_db <= LOSS_DB_MAX,
            "loss_db",
            f"must be above 0 and at most {LOSS_DB_MAX:g}, got {loss_db}",
        ),
        (
            not (unmoved and loss_db is not None),
            "loss_db",
            f"quality {request.quality} runs every step on every device; leave it out or ask for balanced or fast",
        ),
    )


def _override_violations(request: ImageRequest) -> list[FieldViolation]:
    overrides = request.overrides
    given = {
        "max_stride": overrides.max_stride,
        "warmup": overrides.warmup_steps,
        "tail": overrides.tail_steps,
        "loss_db": overrides.loss_db,
        "devices": overrides.devices or None,
        "objective": request.objective,
    }
    if request.plan is not None:
        return [
            FieldViolation(field=field, description="cannot be given with a plan, which says it already")
            for field, value in given.items()
            if value is not None
        ]
    unmoved = request.quality in {Quality.EXACT, Quality.HIGH}
    rules = (
        (
            overrides.max_stride is None or overrides.max_stride in STRIDES,
            "max_stride",
            f"must be one of {', '.join(map(str, STRIDES))}, got {overrides.max_stride}",
        ),
        (
            not (unmoved and (overrides.max_stride or 1) > 1),
            "max_stride",
            f"quality {request.quality} runs every step on every device; leave it out or ask for balanced or fast",
        ),
        *_loss_rules(request),
        *_phase_rules(request),
        (
            len(set(overrides.devices)) == len(overrides.devices) and all(overrides.devices),
            "devices",
            f"must name each agent once, got {', '.join(overrides.devices)}",
        ),
    )
    return [FieldViolation(field=field, description=description) for holds, field, description in rules if not holds]
