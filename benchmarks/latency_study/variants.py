"""What is compared: eight plans for the same picture on the same devices. Same step loop, same overlap, other plan.

Owns the choice of each plan. Everything is computed from measurements of an earlier fleet, with the planner that the
product uses; a plan is a pure function of measurement and picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.explanation import Prediction
from polyrhythm.plan.plan import Plan, Segment
from polyrhythm.plan.profile import Link, Profile
from polyrhythm_coordinator.scheduling.planning.cost_model import predict
from polyrhythm_coordinator.scheduling.planning.plan_builder import (
    equal_patches_plan,
    rows_and_strides_plan,
    rows_only_plan,
    solo_plan,
)
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.quality_policy import policy_of
from polyrhythm_coordinator.scheduling.planning.search import search_plan

FREE_LINK = Link(latency_s=0.0, bytes_per_s=1e18)
SLOW_STRIDE = 2
STEPS_MIN = 5
"""Four synchronous steps and one displaced: below, a rows-only plan is no longer one."""


class Variant(StrEnum):
    """The columns of the study, in the order in which they are shown."""

    SOLO = "solo fastest"
    EQUAL = "equal patches"
    ROWS = "rows only"
    FEWER_STEPS = "rows only, fewer steps"
    STRIDES = "rows + strides"
    UNCALIBRATED = "balanced, uncalibrated"
    """STADI's rule, whatever is known of the model: strides 1 and 2, with full rate at both ends."""
    BALANCED = "balanced"
    """The product's default: with a calibration the fastest plan within 1 dB of equal patches, else the same rule; the
    fastest device takes every step."""
    FAST = "fast"
    """The same within 3 dB, steps that all devices skip included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What an earlier fleet measured of itself.

    Attributes:
        facts: of the model.
        profiles: one a device, in rank order.
        links: between them, as ``(sender, receiver)``.
    """

    facts: ModelFacts
    profiles: tuple[Profile, ...]
    links: Mapping[tuple[AgentId, AgentId], Link]

    def request(self, image: ImageSpec) -> PlanRequest:
        """What the planner is given for a picture."""
        return PlanRequest(image=image, facts=self.facts, profiles=self.profiles, links=self.links)

    @property
    def agents(self) -> tuple[AgentId, ...]:
        """Devices in rank order."""
        return tuple(profile.agent for profile in self.profiles)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedVariant:
    """A plan and what it should take, known before it runs."""

    variant: Variant
    plan: Plan
    prediction: Prediction


def plan_variants(
    measured: Measured, image: ImageSpec, variants: Sequence[Variant] = tuple(Variant)
) -> dict[Variant, PlannedVariant]:
    """The plans for a picture, each with its prediction.

    Args:
        measured: by an earlier fleet with the same device names.
        image: what to make; its steps are those of all variants but ``FEWER_STEPS``.
        variants: that are wanted, in the order of the answer.
    """
    request = measured.request(replace(image, quality=Quality.BALANCED))
    row_count = request.row_count
    fastest = min(measured.profiles, key=lambda profile: profile.forward_s(row_count)).agent
    strides = tuple(1 if agent == fastest else SLOW_STRIDE for agent in measured.agents)
    without_tail = replace(policy_of(Quality.BALANCED), tail_steps=0)
    balanced = search_plan(request).chosen.plan
    uncalibrated = replace(request, facts=replace(request.facts, calibrations=()))

    plans = {
        Variant.SOLO: solo_plan(request, fastest),
        Variant.EQUAL: equal_patches_plan(request),
        Variant.ROWS: rows_only_plan(request),
        Variant.FEWER_STEPS: _rows_only_as_fast_as(predict(balanced, request).denoise_s, measured, image),
        Variant.STRIDES: rows_and_strides_plan(request, strides, policy=without_tail),
        Variant.UNCALIBRATED: search_plan(uncalibrated).chosen.plan,
        Variant.BALANCED: balanced,
        Variant.FAST: search_plan(measured.request(replace(image, quality=Quality.FAST))).chosen.plan,
    }
    return {
        variant: PlannedVariant(
            variant=variant,
            plan=plan,
            prediction=predict(plan, measured.request(replace(image, steps=plan.steps))),
        )
        for variant, plan in ((variant, plans[variant]) for variant in variants)
    }


def ideal(
    speeds: Sequence[float], measured: Measured, image: ImageSpec, variants: Sequence[Variant] = tuple(Variant)
) -> dict[Variant, float]:
    """Predicted denoising seconds of the same rules if rows cost in proportion and messages cost nothing.

    The unit is that of one row on the fastest device; only ratios mean anything.
    """
    profiles = tuple(
        replace(profile, fixed_s=0.0, per_row_s=1.0 / speed, encode_s=0.0, decode_s=0.0, alone=None, jitter=0.0)
        for profile, speed in zip(measured.profiles, speeds, strict=True)
    )
    links = {(i, j): FREE_LINK for i in measured.agents for j in measured.agents if i != j}
    planned = plan_variants(Measured(facts=measured.facts, profiles=profiles, links=links), image, variants)
    return {variant: one.prediction.denoise_s for variant, one in planned.items()}


def describe(plan: Plan) -> str:
    """A plan in one line: for each segment its steps and the rows of each device, ``/2`` for a stride of 2."""
    return ", ".join(f"{segment.begin_step}-{segment.end_step}: {_shares(segment)}" for segment in plan.segments)


def _shares(segment: Segment) -> str:
    return " + ".join(f"{a.rows.count}" if a.stride == 1 else f"{a.rows.count}/{a.stride}" for a in segment.assignments)


def _rows_only_as_fast_as(target_s: float, measured: Measured, image: ImageSpec) -> Plan:
    """The rows-only plan whose uniformly reduced number of steps comes nearest to a predicted latency."""
    nearest: Plan | None = None
    nearest_s = float("inf")
    for steps in range(STEPS_MIN, image.steps + 1):
        request = measured.request(replace(image, steps=steps))
        plan = rows_only_plan(request)
        off_s = abs(predict(plan, request).denoise_s - target_s)
        if off_s < nearest_s:
            nearest, nearest_s = plan, off_s
    if nearest is None:
        raise ValueError(f"a comparison needs at least {STEPS_MIN} steps, the picture has {image.steps}")
    return nearest
