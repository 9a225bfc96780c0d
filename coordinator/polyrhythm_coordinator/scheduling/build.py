"""Plan builders: from members, strides, a policy and a rule for rows to a plan. Owns segments and beats.

The search builds its candidates here, and benchmarks build the plans they compare against.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from enum import StrEnum
from math import inf, lcm
from typing import assert_never

from polyrhythm.ids import AgentId
from polyrhythm.image import Quality
from polyrhythm.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.rows import RowRange, ranges_from_counts
from polyrhythm_coordinator.scheduling.cost import GangCost
from polyrhythm_coordinator.scheduling.memory import MemoryFit
from polyrhythm_coordinator.scheduling.partition import equal_rows, fastest_coupled_rows, fastest_rows
from polyrhythm_coordinator.scheduling.quality import Phase, Policy, phases, policy_of
from polyrhythm_coordinator.scheduling.request import PlanRequest

BEAT_STEPS = 4
"""Fine steps between boundaries, rounded up to a multiple of the strides' interval.

At most so many steps are lost with a device, and a cancel waits for at most so many; two to four would do for both.
Against it stands the cost of a boundary: a latency or two and a small gather, under 1 % of four steps.
"""


class DoesNotFitError(ValueError):
    """The members of a gang cannot hold the picture together."""


class RowRule(StrEnum):
    """How a plan's rows are chosen."""

    FASTEST = "fastest"
    """Each segment's rows by predicted time."""
    EQUAL = "equal"
    """The same rows for everybody."""


class GangPlans:
    """The plans of one gang under one policy. Rows that several of them share are computed once.

    With rows by predicted time, nobody gets more rows of a segment than fit into its memory.
    """

    def __init__(
        self,
        request: PlanRequest,
        agents: tuple[AgentId, ...],
        *,
        policy: Policy,
        row_rule: RowRule = RowRule.FASTEST,
        fit: MemoryFit | None = None,
    ) -> None:
        self._fit = fit or MemoryFit(request=request)
        self._cost = GangCost(request=request, agents=agents)
        self._policy = policy if len(agents) > 1 else Policy(displaced=False)
        self._row_rule = row_rule
        self._rows: dict[tuple[Exchange, tuple[int, ...]], tuple[RowRange, ...]] = {}

    @property
    def cost(self) -> GangCost:
        """What the gang's plans cost."""
        return self._cost

    def plan(self, strides: tuple[int, ...] | None = None) -> Plan:
        """The plan with these strides in the reduced phase.

        Args:
            strides: a member each, not checked against the policy; 1 everywhere if None.

        Raises:
            DoesNotFitError: the members cannot hold all rows of a segment.
            ValueError: all members have strides above 1 though the policy caps the rows at a reduced rate.
        """
        request, agents = self._cost.request, self._cost.agents
        full_rate = (1,) * len(agents)
        strides = strides or full_rate
        cuts = phases(
            self._policy,
            begin_step=request.begin_step,
            steps=request.image.steps,
            interval_steps=lcm(*strides),
        )
        return Plan(
            version=request.version,
            begin_step=request.begin_step,
            steps=request.image.steps,
            segments=tuple(self._segment(phase, strides if phase.reduced else full_rate) for phase in cuts),
            encoder=min(agents, key=lambda agent: request.profile(agent).encode_s),
            decoder=self._decoder({phase.exchange for phase in cuts}),
        )

    def _decoder(self, exchanges: AbstractSet[Exchange]) -> AgentId:
        """The fastest of those on which decoding fits."""
        request, agents = self._cost.request, self._cost.agents
        in_gang = len(agents) > 1
        able = [
            agent
            for agent in agents
            if all(self._fit.can_decode(agent, exchange=exchange, in_gang=in_gang) for exchange in exchanges)
        ]
        if not able:
            raise DoesNotFitError(f"none of {', '.join(agents)} has the memory to decode the picture")
        return min(able, key=lambda agent: request.profile(agent).decode_s)

    def _segment(self, phase: Phase, strides: tuple[int, ...]) -> Segment:
        key = (phase.exchange, strides)
        if key not in self._rows:
            self._rows[key] = ranges_from_counts(self._row_counts(phase.exchange, strides))
        return Segment(
            begin_step=phase.begin_step,
            end_step=phase.end_step,
            beat_steps=-(-BEAT_STEPS // lcm(*strides)) * lcm(*strides),
            exchange=phase.exchange,
            assignments=tuple(
                Assignment(agent=agent, rows=rows, stride=stride)
                for agent, rows, stride in zip(self._cost.agents, self._rows[key], strides, strict=True)
            ),
        )

    def _row_counts(self, exchange: Exchange, strides: tuple[int, ...]) -> tuple[int, ...]:
        match self._row_rule:
            case RowRule.EQUAL:
                return equal_rows(len(strides), self._cost.request.row_count)
            case RowRule.FASTEST:
                return self._fastest_counts(exchange, strides)
            case _:
                assert_never(self._row_rule)

    def _fastest_counts(self, exchange: Exchange, strides: tuple[int, ...]) -> tuple[int, ...]:
        """Rows on all members, or on the fastest few where the messages of more cost more than they save."""
        request, agents = self._cost.request, self._cost.agents
        stride_of = dict(zip(agents, strides, strict=True))
        by_speed = sorted(agents, key=lambda agent: request.profile(agent).forward_s(request.row_count))
        best_s, best_counts = inf, (0,) * len(agents)
        for size in range(len(agents), 0, -1):
            rows_per_s = sum(stride_of[agent] / request.profile(agent).per_row_s for agent in by_speed[:size])
            if request.row_count / rows_per_s >= best_s:
                break  # so few cannot be faster, even without messages and with fractions of rows
            working = tuple(agent for agent in agents if agent in by_speed[:size])
            held = self._counts_of(working, exchange, tuple(stride_of[agent] for agent in working))
            if any(rows > self._rows_max(agent, exchange) for agent, rows in held.items()):
                continue  # together they cannot hold the picture
            counts = tuple(held.get(agent, 0) for agent in agents)
            step_s = self._cost.step_s(counts, strides, exchange)
            if step_s < best_s:
                best_s, best_counts = step_s, counts
        limited = any(self._rows_max(agent, exchange) < request.row_count for agent in agents)
        if limited and not any(best_counts):
            raise DoesNotFitError(f"{', '.join(agents)} cannot hold {request.row_count} rows among them")
        return best_counts

    def _counts_of(
        self, working: tuple[AgentId, ...], exchange: Exchange, strides: tuple[int, ...]
    ) -> dict[AgentId, int]:
        """Optimal rows of some members when the others hold none."""
        request = self._cost.request
        everybody = working == self._cost.agents
        cost = self._cost if everybody else GangCost(request=request, agents=working)
        costs = cost.step_costs(strides).capped([self._rows_max(agent, exchange) for agent in working])
        match exchange:
            case Exchange.SYNCHRONOUS:
                counts = fastest_coupled_rows(costs.alone_s_AR, costs.exposed_s_AR)
            case Exchange.DISPLACED:
                counts = fastest_rows(
                    costs.displaced_s_AR,
                    request.row_count,
                    reduced=tuple(stride > 1 for stride in strides),
                    reduced_rows_max=int(self._policy.reduced_share_max * request.row_count),
                )
            case _:
                assert_never(exchange)
        return dict(zip(working, counts, strict=True))

    def _rows_max(self, agent: AgentId, exchange: Exchange) -> int:
        return self._fit.rows(agent, exchange=exchange, in_gang=len(self._cost.agents) > 1)


def solo_plan(request: PlanRequest, agent: AgentId) -> Plan:
    """One device does it all."""
    return GangPlans(request, (agent,), policy=policy_of(Quality.EXACT)).plan()


def equal_patches_plan(request: PlanRequest) -> Plan:
    """DistriFusion on all candidates: equal rows, four synchronous steps, then displaced, whatever the quality."""
    return GangPlans(request, request.agents, policy=policy_of(Quality.HIGH), row_rule=RowRule.EQUAL).plan()


def rows_only_plan(request: PlanRequest) -> Plan:
    """Rows by speed on all candidates, stride 1, four synchronous steps, then displaced, whatever the quality."""
    return GangPlans(request, request.agents, policy=policy_of(Quality.HIGH)).plan()


def strides_only_plan(request: PlanRequest, strides: tuple[int, ...], *, policy: Policy) -> Plan:
    """Equal rows on all candidates with the given strides in the policy's body; the policy's cap is not applied."""
    return GangPlans(request, request.agents, policy=policy, row_rule=RowRule.EQUAL).plan(strides)


def rows_and_strides_plan(request: PlanRequest, strides: tuple[int, ...], *, policy: Policy) -> Plan:
    """Rows by speed, segment by segment, on all candidates with the given strides in the policy's body."""
    return GangPlans(request, request.agents, policy=policy).plan(strides)
