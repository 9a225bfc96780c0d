"""Which agents may take part in a picture, what is known of their speed, and what is to be done about the rest. Pure.

Decides only; ``preparing`` carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from polyrhythm.errors import AgentsLostError, InvalidArgumentError, NoAgentsError, PolyrhythmError
from polyrhythm.explanation import Exclusion, ExclusionReason
from polyrhythm.ids import AgentId
from polyrhythm.image import Quality
from polyrhythm.plan import Plan
from polyrhythm_coordinator.scheduling.job_state import Job, Preparing
from polyrhythm_coordinator.scheduling.measured import ProfileKey, profile_key, workload_of
from polyrhythm_coordinator.scheduling.state import Agent, State


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """The job cannot be run."""

    error: PolyrhythmError


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepWaiting:
    """Somebody who is needed is still loading or measuring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """These agents are to measure, all at the same time, since they will run at the same time too."""

    agents: tuple[AgentId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """These agents may be planned with."""

    agents: tuple[AgentId, ...]
    exclusions: tuple[Exclusion, ...]
    fixed_plan: Plan | None


Decision: TypeAlias = GiveUp | KeepWaiting | Ask | Go


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """All agents seen from one job, each in one place.

    Attributes:
        profiled: ready, and their speed is known.
        unmeasured: ready, and their speed is not known.
        measuring: busy with a measurement, for this job or another one.
        excluded: take no part, with the reason.
        loading: excluded for now because their worker is loading.
        drained: excluded until somebody puts them back.
    """

    profiled: tuple[AgentId, ...]
    unmeasured: tuple[AgentId, ...]
    measuring: tuple[AgentId, ...]
    excluded: Mapping[AgentId, Exclusion]
    loading: tuple[AgentId, ...]
    drained: tuple[AgentId, ...]


def decide(state: State, job: Job, phase: Preparing, now_s: float) -> Decision:
    """What to do next for a job that needs a plan."""
    pool = pool_of(state, job, phase, now_s)
    may_load = now_s < phase.since_s + state.limits.loading_grace_s
    fixed = fixed_plan_of(job)
    needed = fixed.agents if fixed is not None else ()
    absent = tuple(agent for agent in needed if agent not in state.agents or agent in pool.excluded)
    if absent:
        if may_load and all(agent in pool.loading for agent in absent):
            return KeepWaiting()
        told = "; ".join(f"{a}: {pool.excluded[a].detail if a in pool.excluded else 'not connected'}" for a in absent)
        return GiveUp(error=InvalidArgumentError.of("plan", f"not all of its agents can take part: {told}"))
    profiled, unmeasured, measuring = (
        tuple(agent for agent in agents if fixed is None or agent in needed)
        for agents in (pool.profiled, pool.unmeasured, pool.measuring)
    )
    if profiled and (job.picture.replan is not None or not (unmeasured or measuring)):
        # A picture that has begun does not wait for measurements of newcomers.
        late = (*unmeasured, *measuring)
        exclusions = {**pool.excluded, **{agent: _not_ready(agent, "its speed is not known yet") for agent in late}}
        return Go(agents=profiled, exclusions=_in_order(exclusions), fixed_plan=fixed)
    if unmeasured:
        return Ask(agents=unmeasured)
    loads = pool.loading and may_load and not job.picture.lost
    # A job that was accepted outlasts the drain of the last agent.
    drained = pool.drained and not job.explain_only
    if measuring or loads or drained:
        return KeepWaiting()
    return GiveUp(error=_nobody(job, pool))


def pool_of(state: State, job: Job, phase: Preparing, now_s: float) -> Pool:
    """Sorts all agents."""
    overdue = now_s >= phase.since_s + state.limits.profile_timeout_s
    profiled: list[AgentId] = []
    unmeasured: list[AgentId] = []
    measuring: list[AgentId] = []
    excluded: dict[AgentId, Exclusion] = {}
    for name in sorted(state.agents):
        agent = state.agents[name]
        exclusion = phase.excluded.get(name) or _exclusion(state, agent, job, phase)
        if exclusion is None and agent.measuring is None and key_of(agent, job) in state.profiles:
            profiled.append(name)
        elif exclusion is None and overdue:
            detail = f"it measured nothing within {state.limits.profile_timeout_s:g} s"
            excluded[name] = Exclusion(agent=name, reason=ExclusionReason.TOO_SLOW, detail=detail)
        elif exclusion is None:
            (unmeasured if agent.measuring is None else measuring).append(name)
        else:
            excluded[name] = exclusion
    allowed = tuple(name for name in sorted(state.agents) if job.picture.image.overrides.allows(name))
    return Pool(
        profiled=tuple(profiled),
        unmeasured=tuple(unmeasured),
        measuring=tuple(measuring),
        excluded=excluded,
        loading=tuple(name for name in allowed if name not in state.drained and not state.agents[name].worker_ready),
        drained=tuple(name for name in allowed if name in state.drained and name not in job.picture.lost),
    )


def fixed_plan_of(job: Job) -> Plan | None:
    """The client's plan as long as it can be followed: from the first step on, with all of its agents.

    One that is predicted not to fit is tried all the same, since a prediction may be too high; the devices decide.
    """
    plan, picture = job.fixed_plan, job.picture
    if plan is None or picture.begin_step or any(agent in picture.lost for agent in plan.agents):
        return None
    return None if picture.short_of_memory.intersection(plan.agents) else plan


def key_of(agent: Agent, job: Job) -> ProfileKey:
    """Under which an agent's profile for a job is kept; its arithmetic is its own."""
    facts = agent.own_facts(job.facts) or job.facts
    return profile_key(agent.device, agent.software, facts, workload_of(job.picture.image))


def mismatch(agent: Agent, job: Job) -> Exclusion | None:
    """Why a job's picture is not made with what an agent holds; None where it is.

    An exact picture is that of one device up to rounding of one arithmetic, so its agents all compute in the job's.
    """
    own = agent.own_facts(job.facts)
    if own is None:
        detail = f"it does not hold the same weights of {job.facts.model}"
        return Exclusion(agent=agent.agent, reason=ExclusionReason.WRONG_MODEL, detail=detail)
    if job.picture.image.quality is Quality.EXACT and own.dtype != job.facts.dtype:
        detail = f"it computes in {own.dtype}, and all of an exact picture is computed in {job.facts.dtype}"
        return Exclusion(agent=agent.agent, reason=ExclusionReason.OTHER_ARITHMETIC, detail=detail)
    return None


def _exclusion(  # noqa: PLR0911 - one return a reason
    state: State, agent: Agent, job: Job, phase: Preparing
) -> Exclusion | None:
    name, overrides = agent.agent, job.picture.image.overrides
    if not overrides.allows(name):
        return Exclusion(agent=name, reason=ExclusionReason.NOT_NAMED, detail=overrides.told)
    if name in state.drained:
        return _not_ready(name, "it is drained; `polyrhythm drain --undo` puts it back")
    if (reason := job.picture.lost.get(name)) is not None:
        return _not_ready(name, f"lost earlier on this picture: {reason}")
    if not agent.worker_ready:
        return _not_ready(name, "its worker is loading")
    if (unlike := mismatch(agent, job)) is not None:
        return unlike
    if phase.holders_only and name not in job.picture.holders:
        return _not_ready(name, f"it does not hold step {job.picture.begin_step}, from which the picture goes on")
    return None


def _nobody(job: Job, pool: Pool) -> PolyrhythmError:
    told = "; ".join(f"{agent}: {exclusion.detail}" for agent, exclusion in pool.excluded.items())
    if job.picture.lost:
        return AgentsLostError(f"no agent is left for the picture: {told or 'none is connected'}")
    return NoAgentsError(f"no agent can take part: {told or 'none is connected'}")


def _not_ready(agent: AgentId, detail: str) -> Exclusion:
    return Exclusion(agent=agent, reason=ExclusionReason.NOT_READY, detail=detail)


def _in_order(exclusions: Mapping[AgentId, Exclusion]) -> tuple[Exclusion, ...]:
    return tuple(exclusions[agent] for agent in sorted(exclusions))
