"""How long the study will take, from the first pair's measurement. Pure; for the reader's patience, never a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from latency_study.campaign import WARM_UP_ROUNDS, Job
from latency_study.pairs import SpeedPair
from latency_study.variants import Measured, PlannedVariant, Variant, plan_variants
from polyrhythm.image import ImageSpec
from polyrhythm.plan import Plan
from polyrhythm_coordinator.scheduling.cost import predict

FLEET_S = 14.0
"""Start, first profile and end of a fleet."""

REST_OF_A_JOB_S = 0.15
"""Queueing, planning and packing of a picture."""


def study_s(
    measured: Measured, first: SpeedPair, pairs: Sequence[SpeedPair], job: Job, *, repetitions: int, prompts: int
) -> float:
    """Expected seconds of the whole study.

    Args:
        measured: of the first pair.
        first: that pair.
        pairs: all of them.
        job: the pictures.
        repetitions: rounds that count.
        prompts: of the quality phase.
    """
    image = job.image(measured)
    rounds = repetitions + WARM_UP_ROUNDS
    total_s = 0.0
    quality_plans: list[Plan] = []
    for pair in pairs:
        scaled = at_speed(measured, first, pair.slow_speed)
        planned = plan_variants(scaled, image)
        total_s += 2 * FLEET_S + rounds * sum(_job_s(one.plan, scaled, image) for one in planned.values())
        if not pair.drawn:
            quality_plans += distinct_plans([planned])
    free = at_speed(measured, first, 1.0)
    return total_s + FLEET_S + prompts * sum(_job_s(plan, free, image) for plan in dict.fromkeys(quality_plans))


def at_speed(measured: Measured, first: SpeedPair, slow_speed: float) -> Measured:
    """What the devices would measure if the slow one had another speed."""
    factor = first.slow_speed / slow_speed
    fast, slow = measured.profiles
    return replace(
        measured,
        profiles=(
            fast,
            replace(
                slow,
                fixed_s=slow.fixed_s * factor,
                per_row_s=slow.per_row_s * factor,
                encode_s=slow.encode_s * factor,
                decode_s=slow.decode_s * factor,
            ),
        ),
    )


def distinct_plans(planned: Sequence[Mapping[Variant, PlannedVariant]]) -> tuple[Plan, ...]:
    """Every plan once: the same plan makes the same picture, whatever it was made for."""
    return tuple(dict.fromkeys(one.plan for variants in planned for one in variants.values()))


def _job_s(plan: Plan, measured: Measured, image: ImageSpec) -> float:
    prediction = predict(plan, measured.request(replace(image, steps=plan.steps)))
    return prediction.total_s + REST_OF_A_JOB_S
