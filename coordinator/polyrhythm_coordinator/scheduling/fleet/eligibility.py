"""Which agents may take part in a picture, what is known of their speed, and what is to be done about the rest. Pure.

Decides only; ``preparation`` carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from polyrhythm.errors import AgentsLostError, InvalidArgumentError, NoAgentsError, PolyrhythmError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import Quality
from polyrhythm.plan.explanation import Exclusion, ExclusionReason
from polyrhythm.plan.plan import Plan
from polyrhythm_coordinator.scheduling.fleet.measuring import Measurement, due, is_measured
from polyrhythm_coordinator.scheduling.fleet.reservations import promised_agents
from polyrhythm_coordinator.scheduling.planning.measured_profiles import ProfileKey, workload_of
from polyrhythm_coordinator.scheduling.state.job import Picture, Preparing
from polyrhythm_coordinator.scheduling.state.state import Agent, State, loading_told

DRAINED = "it is drained; `polyrhythm drain --undo` puts it back"


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """The picture cannot be made."""

    error: PolyrhythmError


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepWaiting:
    """Somebody who is needed is still loading or measuring, works on another picture, or is drained.

    Attributes:
        reason: what the client is told of it; empty where it will not take long, or takes its course.
        for_loading: whether its worker is loading or its stream ended, which is waited for only so long.
        for_drained: whether nobody else could make it, so that it may be for ever.
        for_measuring: whether somebody is measuring, for this picture or another one.
    """

    reason: str = ""
    for_loading: bool = False
    for_drained: bool = False
    for_measuring: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """These measurements are due."""

    measurements: tuple[Measurement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """These agents may be planned with.

    Attributes:
        agents: free, or soon free: their speed is known.
        busy: those of them that work on another picture now.
        exclusions: of all others, with the reason.
        fixed_plan: the plan to follow; None to search one.
    """

    agents: tuple[AgentId, ...]
    busy: tuple[AgentId, ...]
    exclusions: tuple[Exclusion, ...]
    fixed_plan: Plan | None


Decision: TypeAlias = GiveUp | KeepWaiting | Ask | Go


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """All agents seen from one picture, each in one place.

    Attributes:
        profiled: ready, and their speed is known, alone and beside the others of their host that may take part.
        unmeasured: ready, and their speed is not known.
        measuring: busy with a measurement, for this picture or another one.
        busy: their speed is known, and they work on another picture.
        occupied: work on another picture, and their speed is not known.
        excluded: take no part, with the reason.
        loading: excluded for now because their worker is loading.
        told_loading: that they are loading, in words.
        returning: not connected, and expected back in a moment.
        drained: excluded until somebody puts them back.
    """

    profiled: tuple[AgentId, ...]
    unmeasured: tuple[AgentId, ...]
    measuring: tuple[AgentId, ...]
    busy: tuple[AgentId, ...]
    occupied: tuple[AgentId, ...]
    excluded: Mapping[AgentId, Exclusion]
    loading: tuple[AgentId, ...]
    told_loading: str
    returning: tuple[AgentId, ...]
    drained: tuple[AgentId, ...]

    @property
    def candidates(self) -> tuple[AgentId, ...]:
        """Those that may take part, now or later."""
        return (*self.profiled, *self.unmeasured, *self.measuring, *self.busy, *self.occupied)

    @property
    def coming(self) -> tuple[AgentId, ...]:
        """Those that may be able soon without anybody's doing."""
        return (*self.loading, *self.returning)

    @property
    def told_coming(self) -> str:
        """Them in words."""
        told = [self.told_loading] if self.loading else []
        told += [f"{', '.join(self.returning)} may be back in a moment"] if self.returning else []
        return ", ".join(told)


def decide(state: State, picture: Picture, phase: Preparing, now_s: float) -> Decision:
    """What to do next for a picture that needs a plan."""
    pool = pool_of(state, picture, phase, now_s)
    may_load = now_s < phase.since_s + state.limits.loading_grace_s
    fixed = fixed_plan_of(picture)
    needed = fixed.agents if fixed is not None else ()
    absent = tuple(agent for agent in needed if agent not in state.agents or agent in pool.excluded)
    comes = may_load and all(agent in pool.coming for agent in absent)
    if absent and picture.readmitted and not comes:
        fixed, absent = None, ()  # as after any loss on a picture: others make it by a plan of their own
    if absent:
        return _without_some(picture, pool, absent, may_load=may_load)
    pool = pool if fixed is None else _only(pool, fixed.agents)
    late = (*pool.unmeasured, *pool.measuring)
    elsewhere = (*pool.busy, *pool.occupied)
    waits = elsewhere and (fixed is not None or (picture.explain_only and pool.occupied))
    if picture.has_begun and pool.profiled and not waits:
        # It does not wait for measurements of newcomers, nor for those who make another picture.
        return _go(pool, pool.profiled, fixed)
    if pool.profiled and not late and not waits:
        return _go(pool, tuple(sorted((*pool.profiled, *pool.busy))), fixed)
    if measurements := due(state, picture, pool.unmeasured, (*pool.profiled, *pool.unmeasured), now_s):
        return Ask(measurements=measurements)
    return _wait_or_give_up(picture, pool, may_load=may_load)


def _without_some(picture: Picture, pool: Pool, absent: tuple[AgentId, ...], *, may_load: bool) -> Decision:
    """A plan that was given cannot be followed without agents that cannot take part now."""
    if may_load and all(agent in pool.coming for agent in absent):
        return KeepWaiting(reason=f"not all agents of the plan are ready: {pool.told_coming}", for_loading=True)
    drained = tuple(agent for agent in absent if agent in pool.drained)
    if drained and not picture.explain_only and all(agent in (*pool.coming, *drained) for agent in absent):
        return _for_drained(drained)
    told = "; ".join(f"{a}: {pool.excluded[a].detail if a in pool.excluded else 'not connected'}" for a in absent)
    return GiveUp(error=InvalidArgumentError.of("plan", f"not all of its agents can take part: {told}"))


def _only(pool: Pool, agents: tuple[AgentId, ...]) -> Pool:
    """The same for a plan with these agents and no others."""
    return replace(
        pool,
        profiled=tuple(agent for agent in pool.profiled if agent in agents),
        unmeasured=tuple(agent for agent in pool.unmeasured if agent in agents),
        measuring=tuple(agent for agent in pool.measuring if agent in agents),
        busy=tuple(agent for agent in pool.busy if agent in agents),
        occupied=tuple(agent for agent in pool.occupied if agent in agents),
    )


def _go(pool: Pool, agents: tuple[AgentId, ...], fixed: Plan | None) -> Go:
    late = (*pool.unmeasured, *pool.measuring, *pool.occupied)
    left = {agent: _not_ready(agent, "its speed is not known yet") for agent in late}
    making = {agent: _elsewhere(agent) for agent in pool.busy if agent not in agents}
    exclusions = {**pool.excluded, **left, **making}
    busy = tuple(agent for agent in agents if agent in pool.busy)
    return Go(agents=agents, busy=busy, exclusions=_in_order(exclusions), fixed_plan=fixed)


def _wait_or_give_up(picture: Picture, pool: Pool, *, may_load: bool) -> Decision:
    """Nobody can begin now; somebody may be free later, or come, or be put back."""
    if pool.unmeasured or pool.measuring or pool.busy or pool.occupied:
        return KeepWaiting(for_measuring=bool(pool.measuring))
    if pool.coming and may_load:
        return KeepWaiting(reason=f"nobody is ready: {pool.told_coming}", for_loading=True)
    # A job that was accepted outlasts the drain of the last agent.
    if pool.drained and not picture.explain_only:
        return _for_drained(pool.drained)
    return GiveUp(error=_nobody(picture, pool))


def _for_drained(agents: tuple[AgentId, ...]) -> KeepWaiting:
    told = f"all that could make it are drained: {', '.join(agents)}; `polyrhythm drain --undo` puts one back"
    return KeepWaiting(reason=told, for_drained=True)


def pool_of(state: State, picture: Picture, phase: Preparing, now_s: float) -> Pool:
    """Sorts all agents."""
    promised, agents = promised_agents(state, but=picture), sorted(state.agents)
    found: dict[str, list[AgentId]] = {kind: [] for kind in ("profiled", "unmeasured", "measuring", "busy", "occupied")}
    found_out = {name: _exclusion(state, state.agents[name], picture, phase) for name in agents}
    excluded = {name: exclusion for name, exclusion in found_out.items() if exclusion is not None}
    candidates = [state.agents[name] for name in agents if name not in excluded]
    for agent in candidates:
        name = agent.agent
        works = agent.epoch is not None or name in promised
        if agent.measuring is None and is_measured(state, picture, agent, candidates):
            # A plan that is only explained is one for an idle fleet.
            found["busy" if works and not picture.explain_only else "profiled"].append(name)
        elif works:
            found["occupied"].append(name)
        elif agent.measuring is None:
            found["unmeasured"].append(name)
        elif agent.measuring.is_late(now_s, state.limits):
            detail = f"it measured nothing within {state.limits.profile_timeout_s:g} s"
            excluded[name] = Exclusion(agent=name, reason=ExclusionReason.TOO_SLOW, detail=detail)
        else:
            found["measuring"].append(name)
    # Whoever was lost on this picture, or left out of its job, takes no further part in it, even when it is back.
    barred = picture.lost.keys() | state.jobs[picture.job].left_out.keys()
    allowed = tuple(name for name in agents if picture.image.overrides.allows(name) and name not in barred)
    loading = tuple(name for name in allowed if name not in state.drained and not state.agents[name].worker_ready)
    returning = (
        name
        for name in state.returning(now_s)
        if picture.image.overrides.allows(name) and name not in barred and state.departed[name].may_hold(picture.facts)
    )
    return Pool(
        profiled=tuple(found["profiled"]),
        unmeasured=tuple(found["unmeasured"]),
        measuring=tuple(found["measuring"]),
        busy=tuple(found["busy"]),
        occupied=tuple(found["occupied"]),
        excluded=excluded,
        loading=loading,
        told_loading=loading_told(state.agents[name] for name in loading),
        returning=tuple(returning),
        drained=tuple(name for name in allowed if name in state.drained),
    )


def fixed_plan_of(picture: Picture) -> Plan | None:
    """The client's plan as long as it can be followed: from the first step on, with all of its agents.

    One that is predicted not to fit is tried all the same, since a prediction may be too high; the devices decide.
    """
    plan = picture.fixed_plan
    if plan is None or picture.begin_step or any(agent in picture.lost for agent in plan.agents):
        return None
    return None if picture.short_of_memory.intersection(plan.agents) else plan


def key_of(agent: Agent, picture: Picture) -> ProfileKey:
    """Under which an agent's profile for a picture is kept; its arithmetic is its own."""
    return agent.profile_key(picture.facts, workload_of(picture.image))


def mismatch(agent: Agent, picture: Picture) -> Exclusion | None:
    """Why a picture is not made with what an agent holds; None where it is.

    An exact picture is that of one device up to rounding of one arithmetic, so its agents all compute in the job's.
    """
    own = agent.own_facts(picture.facts)
    if own is None:
        detail = f"it does not hold the same weights of {picture.facts.model}"
        return Exclusion(agent=agent.agent, reason=ExclusionReason.WRONG_MODEL, detail=detail)
    if picture.image.quality is Quality.EXACT and own.dtype != picture.facts.dtype:
        detail = f"it computes in {own.dtype}, and all of an exact picture is computed in {picture.facts.dtype}"
        return Exclusion(agent=agent.agent, reason=ExclusionReason.OTHER_ARITHMETIC, detail=detail)
    return None


def _exclusion(  # noqa: PLR0911 - one return a reason
    state: State, agent: Agent, picture: Picture, phase: Preparing
) -> Exclusion | None:
    name, overrides = agent.agent, picture.image.overrides
    if not overrides.allows(name):
        return Exclusion(agent=name, reason=ExclusionReason.NOT_NAMED, detail=overrides.told)
    if name in state.drained:
        return _not_ready(name, DRAINED)
    if (left_out := state.jobs[picture.job].left_out.get(name)) is not None:
        return left_out
    if (reason := picture.lost.get(name)) is not None:
        return _not_ready(name, _lost(reason, twice=name in picture.readmitted))
    if not agent.worker_ready:
        return _not_ready(name, f"its worker is loading{f'; the one before: {agent.trouble}' if agent.trouble else ''}")
    if (unlike := mismatch(agent, picture)) is not None:
        return unlike
    if phase.holders_only and name not in picture.holders:
        return _not_ready(name, f"it does not hold step {picture.begin_step}, from which the picture goes on")
    return None


def _nobody(picture: Picture, pool: Pool) -> PolyrhythmError:
    losses = {agent: _lost(reason, twice=False) for agent, reason in {**picture.readmitted, **picture.lost}.items()}
    present = {agent: exclusion.detail for agent, exclusion in pool.excluded.items()}
    told = "; ".join(f"{agent}: {detail}" for agent, detail in {**losses, **present}.items())
    if losses:
        return AgentsLostError(f"no agent is left for the picture: {told}")
    return NoAgentsError(f"no agent can take part: {told or 'none is connected'}")


def _lost(reason: str, *, twice: bool) -> str:
    return f"lost {'twice' if twice else 'earlier'} on this picture: {reason}"


def _elsewhere(agent: AgentId) -> Exclusion:
    return Exclusion(agent=agent, reason=ExclusionReason.OTHER_PICTURES, detail=f"{agent} works on another picture")


def _not_ready(agent: AgentId, detail: str) -> Exclusion:
    return Exclusion(agent=agent, reason=ExclusionReason.NOT_READY, detail=detail)


def _in_order(exclusions: Mapping[AgentId, Exclusion]) -> tuple[Exclusion, ...]:
    return tuple(exclusions[agent] for agent in sorted(exclusions))
