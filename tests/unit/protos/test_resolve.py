"""Filling in a request's defaults from a model's facts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import (
    COUNT_MAX,
    GUIDANCE_MAX,
    PROMPT_CHARACTERS_MAX,
    SEED_MAX,
    STEPS_MAX,
    ImageRequest,
    Overrides,
    Quality,
)
from polyrhythm.job.request_checks import check_request, resolve
from polyrhythm.model.exchanged_layers import LayerGroup, LayerKind
from polyrhythm.model.facts import ModelFacts
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.rows import RowRange
from tests.tiny_models.layer_groups import token_groups
from tests.values.calibrations import calibration

FACTS = ModelFacts(
    name="demo",
    family="pixart",
    fingerprint="f",
    dtype="float32",
    samplers=(Sampler.DPM_SOLVER_PP_2M, Sampler.DDIM),
    default_width_px=128,
    default_height_px=96,
    default_steps=20,
    default_guidance=4.5,
    pixel_multiple=8,
    row_unit_px=8,
    pixels_max=256 * 256,
    token_limit=32,
    exchanged=token_groups(4, cell_bytes=256),
    token_px=8,
    latent_bytes_per_token=64,
    weights_bytes=1,
)


def plan(steps: int, rows: int) -> Plan:
    segment = Segment(
        begin_step=0,
        end_step=steps,
        beat_steps=1,
        exchange=Exchange.SYNCHRONOUS,
        assignments=(Assignment(agent=AgentId("a"), rows=RowRange(begin=0, end=rows)),),
    )
    agent = AgentId("a")
    return Plan(version=1, begin_step=0, steps=steps, segments=(segment,), encoder=agent, decoder=agent)


def test_absent_fields_take_the_models_defaults() -> None:
    image = resolve(ImageRequest(prompt="apple"), FACTS, seed=7)
    assert (image.model, image.width_px, image.height_px, image.steps) == ("demo", 128, 96, 20)
    assert (image.seed, image.guidance, image.sampler, image.quality) == (
        7,
        4.5,
        Sampler.DPM_SOLVER_PP_2M,
        Quality.BALANCED,
    )


def test_a_sampler_that_the_model_does_not_offer_is_refused() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        resolve(ImageRequest(prompt="apple", steps=0, sampler=Sampler.LCM), FACTS, seed=7)
    assert [violation.field for violation in caught.value.violations] == ["image.steps", "image.sampler"]


def test_given_fields_stand() -> None:
    request = ImageRequest(prompt="apple", seed=1, steps=9, width_px=64, sampler=Sampler.DDIM, quality=Quality.EXACT)
    image = resolve(request, FACTS, seed=7)
    assert (image.seed, image.steps, image.width_px) == (1, 9, 64)
    assert (image.sampler, image.quality) == (Sampler.DDIM, Quality.EXACT)


@pytest.mark.parametrize(
    "request_",
    [
        ImageRequest(prompt=""),
        ImageRequest(prompt=" ", negative_prompt=" "),
        ImageRequest(prompt="apple", seed=2**64 - 1),
        ImageRequest(prompt="apple", seed=2**64 - COUNT_MAX, count=COUNT_MAX),
        ImageRequest(prompt="apple", guidance=0.0),
        ImageRequest(prompt="apple", guidance=50.0),
        ImageRequest(prompt="apple", steps=1000),
    ],
)
def test_what_pipelines_take_is_taken(request_: ImageRequest) -> None:
    image = resolve(request_, FACTS, seed=7)
    assert image.prompt == request_.prompt
    for field in ("seed", "guidance", "steps"):
        assert getattr(request_, field) in {None, getattr(image, field)}


def test_long_texts_are_refused_before_any_fleet_is_asked() -> None:
    longest = "p" * PROMPT_CHARACTERS_MAX
    check_request(ImageRequest(prompt=longest, negative_prompt=longest))
    with pytest.raises(InvalidArgumentError) as caught:
        check_request(ImageRequest(prompt=longest + "p", negative_prompt=longest + "p"))
    assert [violation.field for violation in caught.value.violations] == ["image.prompt", "image.negative_prompt"]


def test_a_model_may_make_square_pictures_only() -> None:
    facts = replace(FACTS, square_only=True, default_height_px=128)
    assert resolve(ImageRequest(prompt="apple"), facts, seed=7).height_px == 128
    with pytest.raises(InvalidArgumentError, match=r"image\.width_px: demo makes square pictures only, got 64x128"):
        resolve(ImageRequest(prompt="apple", width_px=64), facts, seed=7)


def test_a_fixed_plan_sets_the_steps() -> None:
    assert resolve(ImageRequest(prompt="apple", plan=plan(6, 12)), FACTS, seed=7).steps == 6


def test_a_fixed_plan_with_strides_is_refused_for_a_sampler_that_makes_every_step() -> None:
    whole = plan(8, 12)
    (segment,) = whole.segments
    halves = tuple(
        Assignment(agent=AgentId(name), rows=RowRange(begin=begin, end=begin + 6), stride=stride)
        for name, begin, stride in (("a", 0, 1), ("b", 6, 2))
    )
    warm = replace(segment, end_step=4, assignments=tuple(replace(half, stride=1) for half in halves))
    body = replace(segment, begin_step=4, beat_steps=2, exchange=Exchange.DISPLACED, assignments=halves)
    strided = replace(whole, segments=(warm, body))
    facts = replace(
        FACTS, samplers=(Sampler.EULER_ANCESTRAL, Sampler.DDIM), full_rate_samplers=(Sampler.EULER_ANCESTRAL,)
    )
    with pytest.raises(InvalidArgumentError) as caught:
        resolve(ImageRequest(prompt="apple", plan=strided), facts, seed=7)
    (violation,) = caught.value.violations
    assert violation.field == "image.plan"
    assert violation.description == "has stride 2, euler-ancestral takes stride 1 only"
    assert resolve(ImageRequest(prompt="apple", plan=whole), facts, seed=7).sampler is Sampler.EULER_ANCESTRAL
    assert resolve(ImageRequest(prompt="apple", plan=strided, sampler=Sampler.DDIM), facts, seed=7).steps == 8


def test_a_fixed_plan_that_moves_rows_without_a_synchronous_step_is_refused_where_a_model_needs_one() -> None:
    def part(begin: int, end: int, exchange: Exchange, above: int) -> Segment:
        names = ((AgentId("a"), 0, above), (AgentId("b"), above, 12))
        held = tuple(Assignment(agent=agent, rows=RowRange(begin=top, end=bottom)) for agent, top, bottom in names)
        return Segment(begin_step=begin, end_step=end, beat_steps=2, exchange=exchange, assignments=held)

    stale, moved = part(4, 8, Exchange.DISPLACED, 4), part(0, 4, Exchange.SYNCHRONOUS, 6)
    rims = LayerGroup(kind=LayerKind.HALO, layers=1, cell_px=8, cell_bytes=4, rows_above=1, rows_below=1)
    facts = replace(FACTS, exchanged=(*FACTS.exchanged, rims))
    request = ImageRequest(prompt="apple", plan=replace(plan(8, 12), segments=(moved, stale)))
    with pytest.raises(InvalidArgumentError) as caught:
        resolve(request, facts, seed=7)
    (violation,) = caught.value.violations
    assert violation.description == "moves rows at step 4, which must be synchronous for this model"
    assert resolve(request, FACTS, seed=7).steps == 8
    alone = part(4, 8, Exchange.DISPLACED, 12)  # nobody else's activations are read
    assert resolve(replace(request, plan=replace(plan(8, 12), segments=(moved, alone))), facts, seed=7).steps == 8


STRIDE, WARMUP, TAIL = "overrides.max_stride", "overrides.warmup_steps", "overrides.tail_steps"


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"count": 0}, ["count"]),
        ({"count": COUNT_MAX + 1}, ["count"]),
        ({"count": 2, "seed": SEED_MAX}, ["seed"]),
        ({"seed": SEED_MAX + 1}, ["seed"]),
        ({"seed": -1}, ["seed"]),
        ({"steps": STEPS_MAX + 1}, ["steps"]),
        ({"guidance": -0.5}, ["guidance"]),
        ({"guidance": GUIDANCE_MAX + 1}, ["guidance"]),
        ({"steps": 0, "count": -3}, ["steps", "count"]),
        ({"plan": plan(6, 12), "steps": 7}, ["plan"]),
        ({"plan": plan(6, 11)}, ["plan"]),
        ({"plan": plan(6, 11), "steps": 7}, ["plan"]),
        ({"width_px": 60, "height_px": 1020}, ["width_px", "height_px"]),
        ({"width_px": 60, "height_px": 2**20}, ["width_px"]),
        ({"plan": plan(6, 12), "overrides": Overrides(tail_steps=2)}, [TAIL]),
        ({"guidance": float("nan")}, ["guidance"]),
        ({"prompt": "p" * (PROMPT_CHARACTERS_MAX + 1)}, ["prompt"]),
        ({"negative_prompt": "p" * (PROMPT_CHARACTERS_MAX + 1), "steps": 0}, ["negative_prompt", "steps"]),
        ({"prompt": " " * (PROMPT_CHARACTERS_MAX + 1)}, ["prompt"]),
        ({"overrides": Overrides(warmup_steps=20)}, [WARMUP]),
        ({"overrides": Overrides(tail_steps=20)}, [TAIL]),
        ({"overrides": Overrides(warmup_steps=30, tail_steps=25)}, [WARMUP, TAIL]),
        ({"overrides": Overrides(warmup_steps=12, tail_steps=8)}, [TAIL]),
        ({"overrides": Overrides(warmup_steps=6), "steps": 6}, [WARMUP]),
        ({"overrides": Overrides(warmup_steps=6), "quality": Quality.EXACT}, [WARMUP]),
        (
            {"overrides": Overrides(warmup_steps=1, tail_steps=0), "quality": Quality.EXACT},
            [WARMUP, TAIL],
        ),
        ({"overrides": Overrides(tail_steps=3), "quality": Quality.HIGH}, [TAIL]),
        ({"overrides": Overrides(tail_steps=3, max_stride=1)}, [TAIL]),
        (
            {"overrides": Overrides(tail_steps=3, max_stride=2), "sampler": Sampler.LCM},
            [STRIDE, TAIL],
        ),
    ],
)
def test_every_offending_field_is_named(changes: dict, fields: list[str]) -> None:
    facts = replace(FACTS, samplers=(*FACTS.samplers, Sampler.LCM), full_rate_samplers=(Sampler.LCM,))
    with pytest.raises(InvalidArgumentError) as caught:
        resolve(replace(ImageRequest(prompt="apple"), **changes), facts, seed=7)
    assert [violation.field for violation in caught.value.violations] == [f"image.{field}" for field in fields]


@pytest.mark.parametrize("quality", [Quality.EXACT, Quality.HIGH, Quality.BALANCED])
def test_a_largest_stride_of_one_agrees_with_whatever_takes_every_step(quality: Quality) -> None:
    facts = replace(FACTS, samplers=(Sampler.LCM,), full_rate_samplers=(Sampler.LCM,))
    request = ImageRequest(prompt="apple", quality=quality, overrides=Overrides(max_stride=1))
    assert resolve(request, facts, seed=7).overrides.max_stride == 1


def test_a_fixed_plan_that_is_not_exact_is_refused_where_an_exact_picture_is_asked_for() -> None:
    def part(exchange: Exchange, begin: int, rows: int, stride: int) -> Segment:
        names = ((AgentId("a"), 0, rows), (AgentId("b"), rows, 12))
        held = tuple(Assignment(agent=a, rows=RowRange(begin=top, end=end), stride=stride) for a, top, end in names)
        return Segment(begin_step=begin, end_step=begin + 4, beat_steps=2, exchange=exchange, assignments=held)

    first = part(Exchange.SYNCHRONOUS, 0, 6, 1)
    for second, exact in (
        (part(Exchange.SYNCHRONOUS, 4, 6, 1), True),
        (part(Exchange.DISPLACED, 4, 12, 1), True),
        (part(Exchange.DISPLACED, 4, 6, 1), False),
        (part(Exchange.DISPLACED, 4, 12, 2), False),
    ):
        whole = replace(plan(8, 12), segments=(first, second))
        request = ImageRequest(prompt="apple", plan=whole, quality=Quality.EXACT)
        if exact:
            assert resolve(request, FACTS, seed=7).quality is Quality.EXACT
        else:
            with pytest.raises(InvalidArgumentError) as caught:
                resolve(request, FACTS, seed=7)
            (violation,) = caught.value.violations
            assert violation.field == "image.plan"
            assert "step 4" in violation.description
        assert resolve(replace(request, quality=None), FACTS, seed=7).steps == 8


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_the_policys_own_warm_up_and_tail_may_leave_nothing_between_them(steps: int) -> None:
    assert resolve(ImageRequest(prompt="apple", steps=steps), FACTS, seed=7).steps == steps


def test_warm_up_and_tail_may_leave_one_step() -> None:
    overrides = Overrides(warmup_steps=12, tail_steps=7)
    assert resolve(ImageRequest(prompt="apple", overrides=overrides), FACTS, seed=7).overrides == overrides


@pytest.mark.parametrize(
    ("quality", "loss_db", "sampler", "told"),
    [
        (Quality.BALANCED, 0.0, "ddim", "must be above 0 and at most 60, got 0.0"),
        (Quality.FAST, 60.1, "ddim", "must be above 0 and at most 60, got 60.1"),
        (Quality.HIGH, 1.0, "ddim", "quality high runs every step on every device; leave it out or ask for"),
        (Quality.EXACT, 1.0, "ddim", "quality exact runs every step on every device; leave it out or ask for"),
        (None, 1.0, "dpmpp-2m", "demo is not calibrated for dpmpp-2m"),
    ],
)
def test_a_loss_is_for_qualities_that_skip_steps_and_for_calibrated_models(
    quality: Quality | None, loss_db: float, sampler: str, told: str
) -> None:
    facts = replace(FACTS, calibrations=(calibration(sampler=Sampler.DDIM),))
    request = ImageRequest(
        prompt="apple", quality=quality, sampler=Sampler(sampler), overrides=Overrides(loss_db=loss_db)
    )
    with pytest.raises(InvalidArgumentError) as caught:
        resolve(request, facts, seed=7)
    (violation,) = caught.value.violations
    assert violation.field == "image.overrides.loss_db"
    assert violation.description.startswith(told)


@pytest.mark.parametrize("quality", [None, Quality.BALANCED, Quality.FAST])
def test_a_loss_stands(quality: Quality | None) -> None:
    facts = replace(FACTS, calibrations=(calibration(sampler=Sampler.DPM_SOLVER_PP_2M),))
    request = ImageRequest(prompt="apple", quality=quality, overrides=Overrides(loss_db=0.5))
    assert resolve(request, facts, seed=7).overrides.loss_db == 0.5
