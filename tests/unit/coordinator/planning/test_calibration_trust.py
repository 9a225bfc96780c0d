"""Where a calibration says nothing of a picture, no step is skipped, and the user is told why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from polyrhythm.job.image import ImageSpec, Objective, Overrides, Quality
from polyrhythm.model.request_choices import Sampler
from polyrhythm_coordinator.scheduling.planning.calibration_trust import Trusted, trusted
from polyrhythm_coordinator.scheduling.planning.distortion import distortion_of
from polyrhythm_coordinator.scheduling.planning.explanation import notices
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask, explanation_of
from polyrhythm_coordinator.scheduling.planning.search import search_plan
from tests.values.calibrations import calibration
from tests.values.plan_requests import LOOPBACK, MEMORY, plan_request

MEASURED = (calibration(steps=50), calibration(steps=20, width=2), calibration(steps=10, width=2))


def request(*, quality: Quality = Quality.BALANCED, steps: int = 50, guidance: float = 4.0) -> PlanRequest:
    made = plan_request([1.0, 0.5], link=LOOPBACK, quality=quality, steps=steps)
    facts = replace(made.facts, calibrations=MEASURED, samplers=(Sampler.DDIM, Sampler.DPM_SOLVER_PP_2M))
    return replace(made, facts=facts, image=replace(made.image, guidance=guidance))


def trusted_of(made: PlanRequest) -> Trusted:
    return trusted(made.image, made.facts.calibrations)


def strides(made: PlanRequest) -> set[int]:
    return {stride for segment in search_plan(made).chosen.plan.segments for stride in segment.strides}


@pytest.mark.parametrize(
    ("steps", "counted"),
    [
        (8, (10,)),
        (10, (10,)),
        (11, (10, 20)),
        (20, (20,)),
        (49, (20, 50)),
        (50, (50,)),
        (62, (50,)),
        (7, ()),
        (63, ()),
    ],
)
def test_the_lengths_around_a_picture_count(steps: int, counted: tuple[int, ...]) -> None:
    assert tuple(one.steps for one in trusted_of(request(steps=steps)).calibrations) == counted


def test_between_lengths_that_are_far_apart_nothing_is_interpolated() -> None:
    made = request()
    far = replace(made.facts, calibrations=(calibration(steps=10, width=2), calibration(steps=50)))
    for steps, counted in ((12, (10,)), (20, ()), (40, (50,))):
        image = replace(made.image, steps=steps)
        found = trusted_of(replace(made, facts=far, image=image)).calibrations
        assert tuple(one.steps for one in found) == counted


def other(image: ImageSpec, **changed: object) -> ImageSpec:
    return replace(image, **changed)


@pytest.mark.parametrize("quality", [Quality.BALANCED, Quality.FAST])
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"sampler": Sampler.DPM_SOLVER_PP_2M}, "sampler dpmpp-2m is not calibrated, only ddim"),
        ({"steps": 100}, "100 steps are too far from the lengths that are calibrated: 10, 20, 50"),
        ({"guidance": 9.0}, "guidance 9 is too far from 4, which is calibrated"),
    ],
)
def test_full_rate_where_nothing_is_known_and_that_is_said(
    quality: Quality, changed: dict[str, object], told: str
) -> None:
    known = request(quality=quality)
    assert 2 in strides(known)
    assert not any("not known" in notice for notice in notices(known, known.agents))
    unknown = replace(known, image=other(known.image, **changed))
    assert distortion_of(unknown) is None
    assert strides(unknown) == {1}
    assert search_plan(unknown).chosen.prediction.psnr_db is None
    (notice,) = (notice for notice in notices(unknown, unknown.agents) if "not known" in notice)
    assert "every device makes every step" in notice
    assert told in notice


def test_guidance_and_size_count_as_far_as_they_are_alike() -> None:
    made = request()
    for guidance, known in ((3.0, True), (6.0, True), (2.0, False), (1.0, False)):
        image = replace(made.image, guidance=guidance)
        profiles = tuple(
            replace(profile, workload=replace(profile.workload, batch=2 if guidance > 1 else 1))
            for profile in made.profiles
        )
        assert bool(trusted_of(replace(made, image=image, profiles=profiles)).calibrations) is known
    for side, known in ((192, True), (256, False), (64, False)):
        image = replace(made.image, width_px=side, height_px=side)
        profiles = tuple(
            replace(profile, workload=replace(profile.workload, width_px=side, height_px=side))
            for profile in made.profiles
        )
        found = trusted_of(replace(made, image=image, profiles=profiles))
        assert bool(found.calibrations) is known
        assert known or f"{side}x{side} is too far from 128x128" in found.reason


@pytest.mark.parametrize(
    ("width_px", "height_px", "known"),
    [
        (160, 104, True),  # 3:2
        (104, 160, True),
        (168, 96, True),  # 16:9
        (96, 168, True),
        (256, 144, True),  # 16:9 of 2.25 times the pixels
        (176, 88, True),  # 2:1
        (200, 80, False),
        (80, 200, False),
        (512, 32, False),
        (1024, 16, False),
        (16, 1024, False),
    ],
)
def test_as_many_pixels_of_another_shape_are_another_size(width_px: int, height_px: int, known: bool) -> None:
    image = replace(request().image, width_px=width_px, height_px=height_px)
    found = trusted(image, MEASURED)
    assert bool(found.calibrations) is known
    assert known or found.reason == f"{width_px}x{height_px} is too far from 128x128, which is calibrated"


@pytest.mark.parametrize(("measured", "known"), [((96, 64), True), ((64, 96), True), ((128, 72), False)])
def test_a_format_counts_for_itself_upright_as_far_as_the_sides_are_alike(
    measured: tuple[int, int], known: bool
) -> None:
    width_px, height_px = measured
    one = replace(calibration(steps=50), width_px=width_px, height_px=height_px)
    upright = replace(request().image, width_px=height_px, height_px=width_px)
    assert bool(trusted(upright, (one,)).calibrations) is known


def test_without_any_calibration_the_fixed_rule_holds_and_nothing_is_said() -> None:
    made = request()
    bare = replace(made, facts=replace(made.facts, calibrations=()))
    assert 2 in strides(bare)
    assert notices(bare, bare.agents) == ()


def test_who_names_the_largest_stride_decides() -> None:
    made = request(steps=100)
    by_hand = replace(made, image=replace(made.image, overrides=Overrides(max_stride=2)))
    assert 2 in strides(by_hand)
    assert any("strides follow the rule" in notice for notice in notices(by_hand, by_hand.agents))
    held = replace(made, image=replace(made.image, overrides=Overrides(max_stride=1)))
    assert strides(held) == {1}


def of_quality(quality: Quality, speeds: Sequence[float], steps: int) -> PlanRequest:
    made = plan_request(speeds, link=LOOPBACK, quality=quality, steps=steps)
    return replace(made, facts=replace(made.facts, calibrations=(calibration(steps=50),)))


UNKNOWN = "what a skipped step costs is not known, and every device makes every step: "
PAIR = (1.0, 0.5)


@pytest.mark.parametrize(
    ("quality", "speeds", "steps", "overrides", "told"),
    [
        (Quality.BALANCED, PAIR, 100, {}, True),
        (Quality.HIGH, PAIR, 100, {}, False),
        (Quality.BALANCED, (1.0,), 100, {}, False),
        (Quality.FAST, (1.0,), 100, {}, True),  # one device alone may skip steps there
        (Quality.BALANCED, PAIR, 100, {"devices": ("gpu-0",)}, False),
        (Quality.FAST, PAIR, 100, {"devices": ("gpu-0",)}, True),
        (Quality.BALANCED, PAIR, 100, {"max_stride": 1}, False),
        (Quality.FAST, PAIR, 100, {"max_stride": 1}, False),
        (Quality.BALANCED, PAIR, 6, {}, True),
        (Quality.BALANCED, PAIR, 5, {}, False),  # four of them warm up
        (Quality.BALANCED, PAIR, 100, {"tail_steps": 96}, False),
        (Quality.BALANCED, PAIR, 100, {"warmup_steps": 100}, False),
        (Quality.FAST, (1.0,), 2, {}, True),
        (Quality.FAST, (1.0,), 1, {}, False),
        (Quality.FAST, (1.0,), 100, {"warmup_steps": 99}, False),
    ],
)
def test_that_nothing_is_known_is_said_where_steps_might_else_be_skipped(
    quality: Quality, speeds: Sequence[float], steps: int, overrides: dict[str, object], told: bool
) -> None:
    made = of_quality(quality, speeds, steps)
    by_hand = replace(made, image=replace(made.image, overrides=replace(Overrides(), **overrides)))
    assert trusted_of(by_hand).reason
    gang = search_plan(by_hand).chosen.plan.agents
    assert any(notice.startswith(UNKNOWN) for notice in notices(by_hand, gang)) is told


def test_nothing_is_said_where_the_other_device_has_no_room_or_every_picture_one_device() -> None:
    made = of_quality(Quality.BALANCED, PAIR, 100)
    alone = replace(made, usable_bytes={made.agents[1]: 0}, facts=replace(made.facts, memory=MEMORY))
    apart = replace(made, image=replace(made.image, objective=Objective.THROUGHPUT))
    for request in (alone, apart):
        assert notices(request, search_plan(request).chosen.plan.agents) == ()


def test_of_a_sampler_without_strides_nothing_is_said_where_no_step_would_be_skipped_anyway() -> None:
    for speeds, told in (
        (PAIR, ("ddim makes every step on every device, so no plan has strides above 1",)),
        ((1.0,), ()),
    ):
        made = of_quality(Quality.BALANCED, speeds, 100)
        full_rate = replace(made, facts=replace(made.facts, full_rate_samplers=(Sampler.DDIM,)))
        assert notices(full_rate, full_rate.agents) == told


def test_of_a_given_plan_no_rule_is_told_and_nothing_where_it_skips_no_step() -> None:
    made = of_quality(Quality.BALANCED, PAIR, 50)
    skipping = search_plan(made).chosen.plan
    assert any(max(segment.strides) > 1 for segment in skipping.segments)
    every = search_plan(replace(made, image=replace(made.image, quality=Quality.HIGH))).chosen.plan
    strange = replace(made, image=replace(made.image, guidance=9.0))
    told = "what a skipped step costs is not known: guidance 9 is too far from 4, which is calibrated"
    for request, plan, said in ((strange, skipping, (told,)), (strange, every, ()), (made, skipping, ())):
        task = PlanTask(request=request, exclusions=(), fixed_plan=plan)
        assert explanation_of(task).notices == said


def test_of_two_calibrations_of_one_length_one_counts() -> None:
    made = request()
    twice = replace(made.facts, calibrations=(calibration(steps=50), calibration(steps=50, scale=2.0)))
    assert len(trusted_of(replace(made, facts=twice)).calibrations) == 1
    assert search_plan(replace(made, facts=twice)).chosen.prediction.psnr_db is not None


def test_the_reason_is_that_of_the_nearest_calibration() -> None:
    made = request(guidance=9.0)
    near = replace(calibration(steps=50), guidance=5.0)
    far = replace(calibration(steps=50), guidance=1.0)
    small = replace(calibration(steps=50), guidance=9.0, width_px=32, height_px=32)
    for every, told in (
        ((far, near), "guidance 9 is too far from 5"),
        ((near, far), "guidance 9 is too far from 5"),
        ((far, small), "128x128 is too far from 32x32"),
    ):
        assert told in trusted(made.image, every).reason
