"""Which plans are compared: the table of step reduction at equal latency, and uniformly fewer steps on one device.

Owns the choice. Devices are described, not measured: a quality follows from the plan alone, and a plan from ratios.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from latency_study.variants import Measured, plan_variants

from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.profile import Link, Profile
from polyrhythm.plan.rows import RowRange
from polyrhythm_coordinator.scheduling.planning.measured_profiles import workload_of
from polyrhythm_coordinator.scheduling.planning.plan_builder import strides_only_plan
from polyrhythm_coordinator.scheduling.planning.quality_policy import policy_of

FIXED_SHARE = 0.05
"""Of a forward over the whole picture that does not shrink with the rows, as on the CPUs of the latency benchmark."""
WHOLE_S = 1.0
LINK = Link(latency_s=1e-4, bytes_per_s=4e9)


def described_fleet(facts: ModelFacts, image: ImageSpec, speeds: tuple[float, ...]) -> Measured:
    """Devices of the given relative speeds."""
    agents = tuple(AgentId(f"device-{index}") for index in range(len(speeds)))
    rows = facts.row_count(image.height_px)
    profiles = tuple(
        Profile(
            agent=agent,
            workload=workload_of(image),
            fixed_s=FIXED_SHARE * WHOLE_S / speed,
            per_row_s=(1 - FIXED_SHARE) * WHOLE_S / speed / rows,
            encode_s=0.0,
            decode_s=0.0,
            samples=1,
        )
        for agent, speed in zip(agents, speeds, strict=True)
    )
    return Measured(facts=facts, profiles=profiles, links=dict.fromkeys(permutations(agents, 2), LINK))


def compared_plans(facts: ModelFacts, image: ImageSpec, speeds: tuple[float, ...]) -> dict[str, Plan]:
    """Plans by name; each makes the picture in as many fine steps as it says."""
    fleet = described_fleet(facts, image, speeds)
    request = fleet.request(replace(image, quality=Quality.BALANCED))
    plans = {str(variant): planned.plan for variant, planned in plan_variants(fleet, image).items()}
    without_calibration = replace(fleet, facts=replace(facts, calibrations=()))
    uncalibrated = {str(variant): one.plan for variant, one in plan_variants(without_calibration, image).items()}
    strides = tuple(1 if speed == max(speeds) else 2 for speed in speeds)
    return {
        "solo fastest": plans["solo fastest"],
        "equal patches": plans["equal patches"],
        "rows only": plans["rows only"],
        "rows only, fewer steps": uncalibrated["rows only, fewer steps"],
        "strides only": strides_only_plan(request, strides, policy=replace(policy_of(Quality.BALANCED), tail_steps=0)),
        "rows + strides": plans["rows + strides"],
        "rows + strides + tail": uncalibrated["balanced"],
        "solo, half the steps": half_steps(image.steps, request.row_count),
        "balanced": plans["balanced"],
        "fast": plans["fast"],
    }


def half_steps(steps: int, row_count: int) -> Plan:
    """One device that takes every second point of the grid."""
    agent = AgentId("device-0")
    even = steps - steps % 2
    cuts = [(0, even, 2)] + ([(even, steps, 1)] if even < steps else [])
    segments = tuple(
        Segment(
            begin_step=begin,
            end_step=end,
            beat_steps=4 if stride == 2 else 1,
            exchange=Exchange.DISPLACED,
            assignments=(Assignment(agent=agent, rows=RowRange(begin=0, end=row_count), stride=stride),),
        )
        for begin, end, stride in cuts
    )
    return Plan(version=1, begin_step=0, steps=steps, segments=segments, encoder=agent, decoder=agent)
