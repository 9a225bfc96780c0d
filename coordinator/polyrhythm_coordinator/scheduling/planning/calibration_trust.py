"""Which calibrations a picture's plan may rest on, and what to say where it may rest on none.

Owns the range in which numbers that were measured on other pictures are trusted. Beyond it nothing is known, and a plan
takes no step away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

from polyrhythm.job.image import ImageSpec
from polyrhythm.model.calibration import Calibration
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest

BEYOND_STEPS = 1.25
"""Longer than the longest measured grid, or shorter than the shortest, by this factor at most: an error grows with its
order from there."""
GAP_STEPS = 2.6
"""Between two measured lengths that are further apart than this factor nothing is interpolated."""
GUIDANCE_APART = 1.5
"""Guidance that was measured over that of the picture, either way, at most."""
SIZE_APART = 2.3
"""Pixels, and width over height, that were measured over those of the picture, either way, at most; so neither width
nor height is further apart than that. Errors sit at the seams between rows, and how many of its rows are near one
depends on a picture's shape as well. A bound by judgement: from a square one every format up to 2:1 counts, lying or
upright, and 3:2 counts for 2:3; strips do not, however few pixels they have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """What is known of a picture's quality.

    Attributes:
        calibrations: one, or a shorter and a longer grid; empty where nothing is known.
        reason: why the model's calibrations say nothing of this picture; empty where they do, or there are none.
    """

    calibrations: tuple[Calibration, ...] = ()
    reason: str = ""


def trusted(image: ImageSpec, every: Sequence[Calibration]) -> Trusted:
    """The calibrations that count for a picture.

    Args:
        image: to be made.
        every: calibration of its model.
    """
    if not every:
        return Trusted()
    of_sampler = [one for one in every if one.sampler == image.sampler]
    if not of_sampler:
        return Trusted(
            reason=f"sampler {image.sampler} is not calibrated, only {_listed(one.sampler for one in every)}"
        )
    alike = [one for one in of_sampler if not _unlike(one, image)]
    if not alike:
        nearest = min(of_sampler, key=lambda one: _distance(one, image))
        return Trusted(reason=_unlike(nearest, image))
    around = _around(alike, image.steps)
    if not around:
        lengths = _listed(str(steps) for steps in sorted(one.steps for one in alike))
        return Trusted(reason=f"{image.steps} steps are too far from the lengths that are calibrated: {lengths}")
    return Trusted(calibrations=around)


def full_rate_for_want_of_numbers(request: PlanRequest) -> bool:
    """Whether no step may be skipped because nothing is known of what that costs.

    A model without any calibration has the rule of its quality; so has a picture whose user names the largest stride.
    """
    unknown = bool(trusted(request.image, request.facts.calibrations).reason)
    return unknown and (request.image.overrides.max_stride or 1) == 1


def _distance(calibration: Calibration, image: ImageSpec) -> tuple[bool, float]:
    """How far a calibration is from counting: without guidance is farther from with it than any number."""
    guided = image.guidance > 1.0
    if (calibration.guidance > 1.0) is not guided:
        return True, log(_size_apart(calibration, image), SIZE_APART)
    apart = log(_guidance_apart(calibration, image), GUIDANCE_APART)
    return False, apart + log(_size_apart(calibration, image), SIZE_APART)


def _guidance_apart(calibration: Calibration, image: ImageSpec) -> float:
    return _apart(max(calibration.guidance, 1.0), max(image.guidance, 1.0))


def _size_apart(calibration: Calibration, image: ImageSpec) -> float:
    """By the pixels or by the ratio of the sides, whichever is further apart."""
    pixels = _apart(calibration.width_px * calibration.height_px, image.width_px * image.height_px)
    shape = _apart(calibration.width_px * image.height_px, image.width_px * calibration.height_px)
    return max(pixels, shape)


def _unlike(calibration: Calibration, image: ImageSpec) -> str:
    """In what a picture is too far from those that were measured."""
    one_is_guided = (calibration.guidance > 1.0) is not (image.guidance > 1.0)
    if one_is_guided or _guidance_apart(calibration, image) > GUIDANCE_APART:
        return f"guidance {image.guidance:g} is too far from {calibration.guidance:g}, which is calibrated"
    if _size_apart(calibration, image) > SIZE_APART:
        size, measured = f"{image.width_px}x{image.height_px}", f"{calibration.width_px}x{calibration.height_px}"
        return f"{size} is too far from {measured}, which is calibrated"
    return ""


def _around(calibrations: Iterable[Calibration], steps: int) -> tuple[Calibration, ...]:
    """The one of this length, the two around it, or the outermost one where it is near enough."""
    ordered = sorted(calibrations, key=lambda one: one.steps)
    same = [one for one in ordered if one.steps == steps]
    if same:
        return (same[0],)
    shorter = [one for one in ordered if one.steps <= steps][-1:]
    longer = [one for one in ordered if one.steps >= steps][:1]
    if shorter == longer or not (shorter and longer):
        (nearest,) = shorter or longer
        return (nearest,) if _apart(nearest.steps, steps) <= BEYOND_STEPS else ()
    if _apart(shorter[0].steps, longer[0].steps) <= GAP_STEPS:
        return (*shorter, *longer)
    return tuple(one for one in (*shorter, *longer) if _apart(one.steps, steps) <= BEYOND_STEPS)[:1]


def _apart(one: float, other: float) -> float:
    return max(one, other) / min(one, other)


def _listed(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
