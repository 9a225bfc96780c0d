"""Plan search: compares gangs and strides under the cost model; the best single device is always a candidate.

Owns which plans are compared and which one is chosen. The rows of each are optimal by construction (``partition``).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import lcm

from polyrhythm.errors import NoAgentsError
from polyrhythm.explanation import Explanation
from polyrhythm.ids import AgentId
from polyrhythm.plan import Plan
from polyrhythm_coordinator.scheduling.build import DoesNotFitError, GangPlans
from polyrhythm_coordinator.scheduling.explain import (
    Option,
    candidate_of,
    exclusions,
    measured_links,
    runners_up,
    shortage,
)
from polyrhythm_coordinator.scheduling.memory import MemoryFit
from polyrhythm_coordinator.scheduling.quality import Policy, at_full_rate, phases, policy_of
from polyrhythm_coordinator.scheduling.request import PlanRequest
from polyrhythm_coordinator.scheduling.stride import EXHAUSTIVE_AGENTS_MAX, stride_assignments

INDIFFERENCE = 0.005
"""Plans within this share of the fastest count as equally fast, and the simplest of them is chosen: no prediction is
as exact, a smaller gang has less that can fail, and full rate gives the better picture."""


def search_plan(request: PlanRequest) -> Explanation:
    """Finds the plan for a picture and says why.

    Args:
        request: the picture, measured candidates and links.

    Returns:
        The chosen plan, the best ones of other kinds and the candidates left out.

    Raises:
        NoAgentsError: no candidate can make the picture in any time that has a number, or it fits on none.
    """
    options = tuple(_options(request))
    if not options:
        shortages = [told for told in (shortage(agent, request) for agent in request.agents) if told]
        if shortages:
            raise NoAgentsError(f"the picture fits on no agents: {'; '.join(shortages)}")
        slowest = ", ".join(
            f"{profile.agent} {profile.forward_s(request.row_count):.3g} s" for profile in request.profiles
        )
        raise NoAgentsError(f"no agent can make this picture; predicted for one step: {slowest}")
    fastest_s = min(option.total_s for option in options)
    chosen = min(
        (option for option in options if option.total_s <= fastest_s * (1 + INDIFFERENCE)),
        key=lambda option: (len(option.plan.agents), _reduced_row_steps(option.plan), option.total_s),
    )
    return Explanation(
        chosen=candidate_of(chosen, request),
        runners_up=tuple(candidate_of(option, request) for option in runners_up(options, chosen)),
        exclusions=exclusions(options, chosen, request),
        profiles=request.profiles,
        links=measured_links(request),
    )


def _options(request: PlanRequest) -> Iterator[Option]:
    policy = _policy(request)
    fit = MemoryFit(request=request)
    for agents in _gangs(request):
        plans = GangPlans(request, agents, policy=policy, fit=fit)
        whole_image_s = [request.profile(agent).forward_s(request.row_count) for agent in agents]
        for strides in stride_assignments(whole_image_s, policy.strides):
            if max(strides) == 1 or _has_reduced_phase(request, policy, lcm(*strides)):
                try:
                    plan = plans.plan(strides)
                except DoesNotFitError:
                    continue  # misfits are told by ``explain``
                if _all_work(plan):
                    yield Option(plan=plan, total_s=plans.cost.total_s(plan))


def _policy(request: PlanRequest) -> Policy:
    policy = policy_of(request.image.quality)
    return at_full_rate(policy) if request.image.sampler in request.facts.full_rate_samplers else policy


def _has_reduced_phase(request: PlanRequest, policy: Policy, interval_steps: int) -> bool:
    """Whether enough steps are left for strides to make a difference."""
    cuts = phases(policy, begin_step=request.begin_step, steps=request.image.steps, interval_steps=interval_steps)
    return any(phase.reduced for phase in cuts)


def _all_work(plan: Plan) -> bool:
    """Whether every member has rows in some segment; without them the smaller gang is the same plan for less."""
    return all(any(segment.of(agent).rows.count for segment in plan.segments) for agent in plan.agents)


def _reduced_row_steps(plan: Plan) -> int:
    """Row units times fine steps at a stride above 1."""
    return sum(
        segment.step_count * assignment.rows.count
        for segment in plan.segments
        for assignment in segment.assignments
        if assignment.stride > 1
    )


def _gangs(request: PlanRequest) -> Iterator[tuple[AgentId, ...]]:
    """Gangs to compare: all subsets of few candidates; of many, the fastest one, two, three and so on."""
    agents = request.agents
    if len(agents) <= EXHAUSTIVE_AGENTS_MAX:
        for size in range(1, len(agents) + 1):
            yield from combinations(agents, size)
        return
    by_speed = sorted(agents, key=lambda agent: request.profile(agent).forward_s(request.row_count))
    for size in range(1, len(agents) + 1):
        fastest = set(by_speed[:size])
        yield tuple(agent for agent in agents if agent in fastest)
