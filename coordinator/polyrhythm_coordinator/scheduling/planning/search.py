"""Plan search: compares gangs and strides under the cost model; the best single device is always a candidate.

Owns which plans are compared and which one is chosen. The rows of each are optimal by construction (``row_partition``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from math import lcm

from polyrhythm.errors import NoAgentsError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import Objective, Quality
from polyrhythm.plan.explanation import Exclusion, ExclusionReason, Explanation
from polyrhythm.plan.plan import Plan
from polyrhythm_coordinator.scheduling.planning.calibration_trust import full_rate_for_want_of_numbers
from polyrhythm_coordinator.scheduling.planning.cost_model import GangCost
from polyrhythm_coordinator.scheduling.planning.distortion import distortion_of
from polyrhythm_coordinator.scheduling.planning.explanation import (
    INDIFFERENCE,
    Option,
    candidate_of,
    measured_links,
    runners_up,
    shortage,
)
from polyrhythm_coordinator.scheduling.planning.gang_rows import DoesNotFitError, KnownRows, ladder
from polyrhythm_coordinator.scheduling.planning.left_out import exclusions
from polyrhythm_coordinator.scheduling.planning.memory_model import MemoryFit
from polyrhythm_coordinator.scheduling.planning.plan_builder import GangPlans
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest, SearchEffort
from polyrhythm_coordinator.scheduling.planning.quality_budget import Budget, budgeted_options
from polyrhythm_coordinator.scheduling.planning.quality_policy import (
    Policy,
    at_full_rate,
    phases,
    policy_for,
    policy_of,
)
from polyrhythm_coordinator.scheduling.planning.strides import EXHAUSTIVE_AGENTS_MAX, stride_assignments, strides_like

QUICK_AGENTS_MAX = 4
"""Agents of a running gang for which all strides are compared quickly; of a larger one those of the running plan."""


def search_plan(request: PlanRequest) -> Explanation:
    """Finds the plan for a picture and says why.

    Args:
        request: the picture, measured candidates and links.

    Returns:
        The chosen plan, the best ones of other kinds and the candidates left out.

    Raises:
        NoAgentsError: no candidate can make the picture in any time that has a number, or it fits on none.
    """
    wanted = _wanted(request)
    options = tuple(_options(wanted))
    if not options and wanted.image.objective is Objective.THROUGHPUT:
        options = tuple(_options(_with_gangs(wanted)))
    if not options:
        shortages = [message for message in (shortage(agent, request) for agent in request.agents) if message]
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
    full = request.effort is SearchEffort.FULL
    left_out = exclusions(options, chosen, wanted) if full else ()
    return Explanation(
        chosen=candidate_of(chosen, request),
        runners_up=tuple(candidate_of(option, request) for option in _shown(options, chosen, request)),
        exclusions=(*left_out, *_unwanted(request)),
        profiles=request.profiles,
        links=measured_links(request, chosen.plan) if full else (),
    )


def _with_gangs(request: PlanRequest) -> PlanRequest:
    """The same where a picture that should be made by one device fits on none."""
    return replace(request, image=replace(request.image, objective=Objective.LATENCY))


def _shown(options: Sequence[Option], chosen: Option, request: PlanRequest) -> Sequence[Option]:
    """The other plans that a user sees; each is predicted in full, and that takes time."""
    others = runners_up(options, chosen)
    return others if request.effort is SearchEffort.FULL else others[:1]


def _wanted(request: PlanRequest) -> PlanRequest:
    """The request with the devices that the user named, where any are named.

    Raises:
        NoAgentsError: none of them is a candidate.
    """
    overrides = request.image.overrides
    profiles = tuple(profile for profile in request.profiles if overrides.allows(profile.agent))
    if not profiles:
        raise NoAgentsError(f"none of the devices asked for is ready: {', '.join(overrides.devices)}")
    return replace(request, profiles=profiles)


def _unwanted(request: PlanRequest) -> tuple[Exclusion, ...]:
    overrides = request.image.overrides
    return tuple(
        Exclusion(agent=agent, reason=ExclusionReason.NOT_NAMED, message=overrides.told)
        for agent in request.agents
        if not overrides.allows(agent)
    )


def _options(request: PlanRequest) -> Iterable[Option]:
    policy = _policy(request)
    predicted = distortion_of(request)
    if policy.loss_db is None or predicted is None:
        return _policy_options(request, policy)
    # The budget decides how much may be reduced, and where; only what the user asks for is kept as it is.
    policy = replace(policy, reduced_share_max=1.0, tail_steps=request.image.overrides.tail_steps or 0)
    budget = Budget(request=request, distortion=predicted, policy=policy)
    options = budgeted_options(budget, _gang_plans(request, policy), lambda plans: _stride_choices(plans, policy))
    # Where the picture fits on no single device, and activations a step old cost too much, all wait for each other.
    return options or _policy_options(request, policy_of(Quality.EXACT))


def _policy_options(request: PlanRequest, policy: Policy) -> Iterator[Option]:
    for plans in _gang_plans(request, policy):
        for strides in _stride_choices(plans, policy):
            if max(strides) == 1 or _has_reduced_phase(request, policy, lcm(*strides)):
                try:
                    plan = plans.plan(strides)
                except DoesNotFitError:
                    continue  # misfits are told by ``explanation``
                if request.effort is SearchEffort.QUICK or _all_work(plan):
                    yield Option(plan=plan, total_s=plans.cost.total_s(plan), cost=plans.cost)


def _gang_plans(request: PlanRequest, policy: Policy) -> Iterator[GangPlans]:
    known: dict[str, tuple[GangCost, MemoryFit, KnownRows]] = {}  # by the dtype in which a gang exchanges
    gangs = tuple(_gangs(request))
    looked_at = frozenset[AgentId]().union(*gangs)
    for agents in gangs:
        own = request.among(agents)
        dtype = own.facts.dtype
        if dtype not in known:
            everybody = tuple(agent for agent in request.agents if agent in looked_at)
            known[dtype] = GangCost(request=own, agents=everybody), MemoryFit(request=own), {}
        cost, fit, rows = known[dtype]
        yield GangPlans(own, agents, policy=policy, cost=cost.restricted(agents), fit=fit, known_rows=rows)


def _stride_choices(plans: GangPlans, policy: Policy) -> Iterable[tuple[int, ...]]:
    request, agents = plans.cost.request, plans.cost.agents
    whole_image_s = [profile.forward_s(request.row_count) for profile in plans.cost.profiles]
    kept = _kept(request)
    if kept is not None and set(agents) == set(kept.agents) and len(agents) > QUICK_AGENTS_MAX:
        return strides_like(kept, agents, whole_image_s)
    return stride_assignments(whole_image_s, policy.strides)


def _policy(request: PlanRequest) -> Policy:
    policy = policy_for(request.image)
    every_step = request.image.sampler in request.facts.full_rate_samplers or full_rate_for_want_of_numbers(request)
    return at_full_rate(policy) if every_step else policy


def _has_reduced_phase(request: PlanRequest, policy: Policy, interval_steps: int) -> bool:
    """Whether enough steps are left for strides to make a difference."""
    cuts = phases(policy, begin_step=request.begin_step, steps=request.image.steps, interval_steps=interval_steps)
    return any(phase.reduced for phase in cuts)


def _all_work(plan: Plan) -> bool:
    """Whether every member has rows in some segment; without them the smaller gang is the same plan for less.

    A quick search does not compare the smaller gang, and the one that runs stays as it is: a member may hold none.
    """
    return all(any(segment.of(agent).rows.count for segment in plan.segments) for agent in plan.agents)


def _reduced_row_steps(plan: Plan) -> int:
    """Row units times fine steps at a stride above 1."""
    return sum(
        segment.step_count * assignment.rows.count
        for segment in plan.segments
        for assignment in segment.assignments
        if assignment.stride > 1
    )


def _single_s(request: PlanRequest, agent: AgentId) -> float:
    """Seconds of a forward of the whole picture on one device."""
    profile = request.profile(agent)
    return profile.forward_s(request.row_count, alone=profile.is_alone_among(()))


def _kept(request: PlanRequest) -> Plan | None:
    """The running plan, where only plans like it are compared."""
    return request.running if request.effort is SearchEffort.QUICK else None


def _gangs(request: PlanRequest) -> Iterator[tuple[AgentId, ...]]:
    """Gangs to compare: all subsets of few candidates; of many, the fastest one, two, three and so on.

    For throughput single devices alone. Quickly only the gang that runs, if it is all there, and its fastest member
    alone.
    """
    agents, kept = request.agents, _kept(request)
    if request.image.objective is Objective.THROUGHPUT and (kept is None or len(kept.agents) == 1):
        yield from ((agent,) for agent in agents)
        return
    if kept is not None and set(kept.agents) <= set(agents):
        running = tuple(agent for agent in agents if agent in kept.agents)
        yield running
        if len(running) > 1:
            yield (min(running, key=lambda agent: _single_s(request, agent)),)
        return
    if len(agents) <= EXHAUSTIVE_AGENTS_MAX:
        for size in range(1, len(agents) + 1):
            yield from combinations(agents, size)
        return
    by_speed = sorted(agents, key=lambda agent: request.profile(agent).forward_s(request.row_count))
    for size in ladder(len(agents)):
        fastest = set(by_speed[:size])
        yield tuple(agent for agent in agents if agent in fastest)
