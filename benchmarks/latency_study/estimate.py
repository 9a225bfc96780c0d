"""How long the study will take, from steps, sizes and speeds alone. Pure; for the reader's patience, never a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latency_study.campaign import WARM_UP_ROUNDS, Job
from latency_study.cases import DEMO, DEMO_UNET, Case
from latency_study.variants import PlannedVariant, Variant
from polyrhythm.plan.plan import Plan

FLEET_S = 14.0
"""Start, first profile and end of a fleet."""
REST_OF_A_JOB_S = 0.5
"""Queueing, encoding, decoding and packing of a picture."""
STEP_S = {DEMO: 0.08, DEMO_UNET: 0.05}
"""Of a forward of ``OWN_PX`` squared with guidance on one core of a plain server. Other models count as the demo."""
OWN_PX = 128
REDUCED = 0.8
"""What strides and fewer steps leave of the time of rows by speed."""


def case_s(case: Case, job: Job, *, repetitions: int, prompts: int = 0) -> float:
    """Expected seconds of one case on a plain server.

    Args:
        case: the devices.
        job: the pictures of the study.
        repetitions: rounds that count.
        prompts: of the quality phase; 0 where there is none.
    """
    rounds = repetitions + WARM_UP_ROUNDS
    total_s = 2 * FLEET_S + rounds * sum(_job_s(variant, case, job) for variant in case.variants)
    if prompts:
        total_s += FLEET_S + prompts * sum(_job_s(variant, case.freely, job) for variant in case.variants)
    return total_s


def distinct_plans(planned: Mapping[Variant, PlannedVariant]) -> tuple[Plan, ...]:
    """Every plan once: the same plan makes the same picture, whatever it was made for."""
    return tuple(dict.fromkeys(one.plan for one in planned.values()))


def _job_s(variant: Variant, case: Case, job: Job) -> float:
    own = job.of(case)
    pixels = (own.width_px or OWN_PX) * (own.height_px or OWN_PX)
    step_s = STEP_S.get(case.model, STEP_S[DEMO]) * pixels / OWN_PX**2
    return REST_OF_A_JOB_S + own.steps * step_s * _to_full_speed(variant, true_speeds(case))


def true_speeds(case: Case) -> Sequence[float]:
    """What a load leaves of the devices' speeds."""
    load = case.load
    return [
        speed * (1.0 - load.share) if load is not None and load.device == index else speed
        for index, speed in enumerate(case.speeds)
    ]


def _to_full_speed(variant: Variant, speeds: Sequence[float]) -> float:
    match variant:
        case Variant.SOLO:
            return 1.0 / max(speeds)
        case Variant.EQUAL:
            return 1.0 / (len(speeds) * min(speeds))
        case Variant.ROWS:
            return 1.0 / sum(speeds)
        case Variant.FEWER_STEPS | Variant.STRIDES | Variant.UNCALIBRATED | Variant.BALANCED | Variant.FAST:
            return REDUCED / sum(speeds)
