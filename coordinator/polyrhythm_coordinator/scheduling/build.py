"""Plan builders: from members, strides, a policy and a rule for rows to a plan. Owns segments and beats.

The search builds its candidates here, and benchmarks build the plans they compare against.
"""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

from polyrhythm.ids import AgentId
from polyrhythm.image import Quality
from polyrhythm.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.rows import ranges_from_counts
from polyrhythm_coordinator.scheduling.cost import GangCost
from polyrhythm_coordinator.scheduling.partition import equal_rows, fastest_rows
from polyrhythm_coordinator.scheduling.quality import Phase, Policy, phases, policy_of
from polyrhythm_coordinator.scheduling.request import PlanRequest

BEAT_STEPS = 4
"""Fine steps between boundaries, rounded up to a multiple of the strides' interval.

At most so many steps are lost with a device, and a cancel waits for at most so many; two to four would do for both.
Against it stands the cost of a boundary: a latency or two and a small gather, under 1 % of four steps.
"""


class RowRule(StrEnum):
    """How a plan's rows are chosen."""

    FASTEST = "fastest"
    """Each segment's rows by predicted time."""
    EQUAL = "equal"
    """The same rows for everybody."""


def build_plan(
    request: PlanRequest,
    agents: tuple[AgentId, ...],
    *,
    policy: Policy,
    strides: tuple[int, ...] | None = None,
    row_rule: RowRule = RowRule.FASTEST,
) -> Plan:
    """The plan of one gang under a policy.

    Args:
        request: the picture.
        agents: members in rank order.
        policy: phases and the cap on rows at a reduced rate; the strides are not checked against it.
        strides: of the reduced phase, a member each; 1 everywhere if None.
        row_rule: how rows are chosen.

    Raises:
        ValueError: all members have strides above 1 though the policy's cap forbids it.
    """
    gang = GangCost(request=request, agents=agents)
    full_rate = (1,) * len(agents)
    strides = strides or full_rate
    interval_steps = max(strides)
    cuts = phases(policy, begin_step=request.begin_step, steps=request.image.steps, interval_steps=interval_steps)
    if len(agents) == 1:
        cuts = phases(
            Policy(displaced=False), begin_step=request.begin_step, steps=request.image.steps, interval_steps=1
        )
    segments = tuple(_segment(gang, phase, strides if phase.reduced else full_rate, policy, row_rule) for phase in cuts)
    return Plan(
        version=request.version,
        begin_step=request.begin_step,
        steps=request.image.steps,
        segments=segments,
        encoder=min(agents, key=lambda agent: request.profile(agent).encode_s),
        decoder=min(agents, key=lambda agent: request.profile(agent).decode_s),
    )


def solo_plan(request: PlanRequest, agent: AgentId) -> Plan:
    """One device does it all."""
    return build_plan(request, (agent,), policy=Policy(displaced=False))


def equal_patches_plan(request: PlanRequest) -> Plan:
    """DistriFusion on all candidates: equal rows, four synchronous steps, then displaced, whatever the quality."""
    return build_plan(request, request.agents, policy=policy_of(Quality.HIGH), row_rule=RowRule.EQUAL)


def rows_only_plan(request: PlanRequest) -> Plan:
    """Rows by speed on all candidates, stride 1, four synchronous steps, then displaced, whatever the quality."""
    return build_plan(request, request.agents, policy=policy_of(Quality.HIGH))


def strides_only_plan(request: PlanRequest, strides: tuple[int, ...], *, policy: Policy) -> Plan:
    """Equal rows on all candidates with the given strides in the reduced phase."""
    return build_plan(request, request.agents, policy=policy, strides=strides, row_rule=RowRule.EQUAL)


def rows_and_strides_plan(request: PlanRequest, strides: tuple[int, ...], *, policy: Policy) -> Plan:
    """Rows by speed, segment by segment, on all candidates with the given strides in the reduced phase."""
    return build_plan(request, request.agents, policy=policy, strides=strides)


def _segment(gang: GangCost, phase: Phase, strides: tuple[int, ...], policy: Policy, row_rule: RowRule) -> Segment:
    interval_steps = max(strides)
    counts = _row_counts(gang, phase.exchange, strides, policy, row_rule)
    return Segment(
        begin_step=phase.begin_step,
        end_step=phase.end_step,
        beat_steps=-(-BEAT_STEPS // interval_steps) * interval_steps,
        exchange=phase.exchange,
        assignments=tuple(
            Assignment(agent=agent, rows=rows, stride=stride)
            for agent, rows, stride in zip(gang.agents, ranges_from_counts(counts), strides, strict=True)
        ),
    )


def _row_counts(
    gang: GangCost, exchange: Exchange, strides: tuple[int, ...], policy: Policy, row_rule: RowRule
) -> tuple[int, ...]:
    row_count = gang.request.row_count
    match row_rule:
        case RowRule.EQUAL:
            return equal_rows(len(gang.agents), row_count)
        case RowRule.FASTEST:
            return fastest_rows(
                gang.step_costs_AR(strides, exchange),
                reduced=tuple(stride > 1 for stride in strides),
                reduced_rows_max=int(policy.reduced_share_max * row_count),
            )
        case _:
            assert_never(row_rule)
