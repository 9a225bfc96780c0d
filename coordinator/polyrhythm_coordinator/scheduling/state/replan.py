"""What is known and under way about another plan for an epoch that runs, frozen. Owns no decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from polyrhythm.ids import AgentId
from polyrhythm.job.events import ReplanReason
from polyrhythm.plan.plan import Plan, Segment
from polyrhythm.plan.profile import Profile
from polyrhythm_coordinator.scheduling.planning.forecast import Forecast, segment_forward_s
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.speed_change import SpeedWatch


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingSearch:
    """A plan for the rest is being computed.

    Attributes:
        number: of the ComputePlan.
        reason: why.
        request: all members, those without rows included, and who else may join; with the speeds as measured now.
    """

    number: int
    reason: ReplanReason
    request: PlanRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """A newer version that all members were sent and that none is known to follow yet.

    Attributes:
        plan: the version, from the boundary on at which it takes over.
        forecast: of it.
        assumed: speeds that it rests on.
        needs_bytes: memory that it is predicted to make each member hold at most.
        reason: why.
        watches: how members have kept to those speeds since it was sent, under the plan before it.
    """

    plan: Plan
    forecast: Forecast
    needs_bytes: Mapping[AgentId, int]
    assumed: Mapping[AgentId, Profile]
    reason: ReplanReason
    watches: Mapping[AgentId, SpeedWatch] = field(default_factory=dict[AgentId, SpeedWatch])

    def watched(self, agent: AgentId, step_s: Sequence[float], segment: Segment) -> Takeover:
        """Takes one beat of the plan before it into account.

        Args:
            agent: whose beat it was.
            step_s: seconds of each forward.
            segment: that each was of.
        """
        watch = self.watches.get(agent, SpeedWatch()).seen(step_s, segment_forward_s(agent, segment, self.assumed))
        return replace(self, watches={**self.watches, agent: watch})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplanState:
    """An epoch's standing with regard to another plan.

    Attributes:
        assumed: speeds that the plan in force rests on, a member each.
        watches: how members have kept to them.
        weighed: agents with which a plan was searched, members included: others are newcomers.
        kept: members that hold rows, and without which there is no plan, though they are drained.
        search: the search under way.
        takeover: the version on its way.
        lead_s: time that a version is given to be made and to reach all members; doubled when it was too short.
    """

    assumed: Mapping[AgentId, Profile]
    watches: Mapping[AgentId, SpeedWatch] = field(default_factory=dict[AgentId, SpeedWatch])
    weighed: frozenset[AgentId] = frozenset()
    kept: frozenset[AgentId] = frozenset()
    search: PendingSearch | None = None
    takeover: Takeover | None = None
    lead_s: float

    def late(self, reason: ReplanReason) -> ReplanState:
        """The same once a plan came too late: what caused it is still there, and the next one is given more time."""
        weighed = frozenset[AgentId]() if reason is ReplanReason.AGENT_JOINED else self.weighed
        return replace(self, takeover=None, weighed=weighed, lead_s=2 * self.lead_s)

    def at_present(self, agent: AgentId, *, in_company: bool) -> Mapping[AgentId, Profile]:
        """The assumed speeds, as far as one member goes with who works beside it now."""
        return {**self.assumed, agent: replace(self.assumed[agent], in_company=in_company)}

    def watch(self, agent: AgentId) -> SpeedWatch:
        """A member's watch."""
        return self.watches.get(agent, SpeedWatch())

    def watched(self, agent: AgentId, step_s: Sequence[float], segment: Segment) -> ReplanState:
        """Holds a beat against what the plan in force assumed, and against what the one on its way assumes.

        Args:
            agent: whose beat it was.
            step_s: seconds of each forward.
            segment: that each was of.
        """
        watch = self.watch(agent).seen(step_s, segment_forward_s(agent, segment, self.assumed))
        takeover = self.takeover and self.takeover.watched(agent, step_s, segment)
        return replace(self, watches={**self.watches, agent: watch}, takeover=takeover)
