"""Plan builders: from members, strides, a policy and a rule for rows to a plan. Owns segments and beats.

The search builds its candidates here, and benchmarks build the plans they compare against.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from math import lcm

from polyrhythm.ids import AgentId
from polyrhythm.job.image import Quality
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.rows import RowRange
from polyrhythm_coordinator.scheduling.planning.cost_model import GangCost
from polyrhythm_coordinator.scheduling.planning.gang_rows import DoesNotFitError, GangRows, KnownRows, RowRule
from polyrhythm_coordinator.scheduling.planning.memory_model import MemoryFit
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.quality_policy import Policy, phases, policy_of

BEAT_STEPS_MIN, BEAT_STEPS_MAX = 2, 4
"""Fine steps between boundaries, each rounded up to a multiple of the strides' interval.

A newer plan takes over at the second boundary after it has come, at most a beat is lost with a device, and a cancel
waits for a beat: the shorter the better. Against it stands the cost of a boundary: a latency or two and a small gather.
"""
BOUNDARY_SHARE_MAX = 0.01
"""Of a beat that its boundary may take; where it takes more, beats are longer."""


def beat_steps(interval_steps: int, step_s: float, boundary_s: float) -> int:
    """The shortest beat whose boundary is cheap, or the longest one.

    Args:
        interval_steps: least common multiple of the strides.
        step_s: seconds of a fine step.
        boundary_s: seconds of a boundary.
    """
    shortest, longest = (-(-steps // interval_steps) for steps in (BEAT_STEPS_MIN, BEAT_STEPS_MAX))
    cheap = (n for n in range(shortest, longest) if boundary_s <= BOUNDARY_SHARE_MAX * n * interval_steps * step_s)
    return next(cheap, longest) * interval_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Consecutive fine steps of one exchange and one set of strides; the builder gives it rows and beats.

    Attributes:
        begin_step: first fine step.
        end_step: last fine step, exclusive.
        exchange: how other agents' rows are seen.
        strides: a member each.
    """

    begin_step: int
    end_step: int
    exchange: Exchange
    strides: tuple[int, ...]


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
        resync_after_move: bool | None = None,
        cost: GangCost | None = None,
        fit: MemoryFit | None = None,
        known_rows: KnownRows | None = None,
    ) -> None:
        """Prepares what all plans of the gang share.

        Args:
            request: picture, profiles and links.
            agents: the gang in rank order.
            policy: which steps may be displaced or reduced, and how much of the picture.
            row_rule: how rows are chosen.
            resync_after_move: whether the first step after rows have moved has to be synchronous; as the model's family
                needs it if None.
            cost: of the gang, where it is known already.
            fit: how many rows fit on each candidate, where it is known already.
            known_rows: of gangs under the same policy, which exchange in the same dtype; what is found is added.
        """
        request = request.among(agents)
        self._resync_after_move = request.facts.resync_after_move if resync_after_move is None else resync_after_move
        self._fit = fit or MemoryFit(request=request)
        self._cost = cost or GangCost(request=request, agents=agents)
        self._policy = policy if len(agents) > 1 else Policy(displaced=False)
        self._rows = GangRows(
            cost=self._cost,
            fit=self._fit,
            rule=row_rule,
            reduced_share_max=self._policy.reduced_share_max,
            known={} if known_rows is None else known_rows,
        )
        self._beats: dict[tuple[Exchange, tuple[int, ...]], int] = {}

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
        if min(strides) > 1 and self._policy.reduced_share_max < 1:
            raise ValueError(f"all agents are reduced: {strides}")
        found = phases(
            self._policy,
            begin_step=request.begin_step,
            steps=request.image.steps,
            interval_steps=lcm(*strides),
        )
        return self.compose(
            [
                Cut(
                    begin_step=phase.begin_step,
                    end_step=phase.end_step,
                    exchange=phase.exchange,
                    strides=strides if phase.reduced else full_rate,
                )
                for phase in found
            ]
        )

    def compose(self, cuts: Sequence[Cut]) -> Plan:
        """The plan of these cuts, each with its own rows.

        Args:
            cuts: in order, without gaps, over all remaining steps. The first one is synchronous in a gang.
        """
        request = self._cost.request
        segments = [self._segment(cut) for cut in cuts]
        if self._resync_after_move:
            segments = resynchronised(segments)
        return Plan(
            version=request.version,
            begin_step=request.begin_step,
            steps=request.image.steps,
            segments=tuple(segments),
            encoder=self._encoder(),
            decoder=self._decoder({cut.exchange for cut in cuts}),
        )

    def _encoder(self) -> AgentId:
        """The fastest of those on which encoding fits; anybody where the embeddings are there already."""
        request, agents = self._cost.request, self._cost.agents
        able = [agent for agent in agents if request.begin_step or self._fit.can_encode(agent)]
        if not able:
            raise DoesNotFitError(f"none of {', '.join(agents)} has the memory to encode the prompt")
        return min(able, key=lambda agent: request.profile(agent).encode_s)

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

    def rows(self, exchange: Exchange, strides: tuple[int, ...]) -> tuple[RowRange, ...]:
        """Rows of each member under some strides."""
        return self._rows.of(exchange, strides)

    @property
    def resync_after_move(self) -> bool:
        """Whether the first step after rows have moved has to be synchronous."""
        return self._resync_after_move

    def boundary_s(self, rows: tuple[RowRange, ...]) -> float:
        """Seconds of a boundary when the members hold these rows."""
        assignments = tuple(Assignment(agent=a, rows=r) for a, r in zip(self._cost.agents, rows, strict=True))
        return self._cost.boundary_s(
            Segment(begin_step=0, end_step=1, beat_steps=1, exchange=Exchange.SYNCHRONOUS, assignments=assignments)
        )

    def _segment(self, cut: Cut) -> Segment:
        rows = self._rows.of(cut.exchange, cut.strides)
        return Segment(
            begin_step=cut.begin_step,
            end_step=cut.end_step,
            beat_steps=self._beat_steps_of(cut, rows),
            exchange=cut.exchange,
            assignments=tuple(
                Assignment(agent=agent, rows=rows, stride=stride)
                for agent, rows, stride in zip(self._cost.agents, rows, cut.strides, strict=True)
            ),
        )

    def _beat_steps_of(self, cut: Cut, rows: tuple[RowRange, ...]) -> int:
        key = (cut.exchange, cut.strides)
        if key not in self._beats:
            counts = tuple(held.count for held in rows)
            step_s = self._cost.step_s(counts, cut.strides, cut.exchange)
            self._beats[key] = beat_steps(lcm(*cut.strides), step_s, self.boundary_s(rows))
        return self._beats[key]


def resynchronised(segments: Sequence[Segment]) -> list[Segment]:
    """The same steps, with a synchronous step on the new rows wherever displaced steps would follow a move of rows.

    Families with halos or group norms keep activations that belong to a patch's place, so what was sent before a move
    is of no use after it. The step is taken from the segment before the move, or from the one after it where the one
    before cannot be shortened by one step.
    """
    done: list[Segment] = []
    for segment in segments:
        before = done[-1] if done else None
        if before is None or not segment.reads_stale or _rows_of(before) == _rows_of(segment):
            done.append(segment)
        elif before.interval_steps == 1:
            done.pop()
            if before.step_count > 1:
                done.append(replace(before, end_step=before.end_step - 1))
            done += [_synchronous(segment, before.end_step - 1, before.end_step), segment]
        else:
            meeting = segment.begin_step + segment.interval_steps
            done.append(_synchronous(segment, segment.begin_step, meeting))
            if meeting < segment.end_step:
                done.append(replace(segment, begin_step=meeting))
    return done


def _synchronous(segment: Segment, begin: int, end: int) -> Segment:
    """Synchronous steps on the rows of a segment."""
    full_rate = tuple(replace(assignment, stride=1) for assignment in segment.assignments)
    return Segment(
        begin_step=begin,
        end_step=end,
        beat_steps=end - begin,
        exchange=Exchange.SYNCHRONOUS,
        assignments=full_rate,
    )


def _rows_of(segment: Segment) -> tuple[RowRange, ...]:
    return tuple(assignment.rows for assignment in segment.assignments)


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
