"""What is to be done next for a picture that needs a plan: wait, measure, plan, or give it up. Pure.

Decides only; ``preparation`` carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from polyrhythm.errors import AgentsLostError, InvalidArgumentError, NoAgentsError, PolyrhythmError
from polyrhythm.ids import AgentId
from polyrhythm.plan.explanation import Exclusion
from polyrhythm.plan.plan import Plan
from polyrhythm_coordinator.scheduling.fleet.agent_kinds import FOR_NOW, AgentKinds, agent_kinds
from polyrhythm_coordinator.scheduling.fleet.eligibility import Bar, exclusion_of, lost_earlier
from polyrhythm_coordinator.scheduling.fleet.measuring import Measurement, due
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.phases import Preparing
from polyrhythm_coordinator.scheduling.state.state import State


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
class Measure:
    """These measurements are due."""

    measurements: tuple[Measurement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanNow:
    """These agents may be planned with.

    Attributes:
        agents: free, or soon free: their speed is known.
        exclusions: of all others, with the reason.
        fixed_plan: the plan to follow; None to search one.
    """

    agents: tuple[AgentId, ...]
    exclusions: tuple[Exclusion, ...]
    fixed_plan: Plan | None


Decision: TypeAlias = GiveUp | KeepWaiting | Measure | PlanNow


def decide(state: State, picture: Picture, phase: Preparing, now_s: float) -> Decision:
    """What to do next for a picture that needs a plan."""
    kinds = agent_kinds(state, picture, now_s)
    may_load = now_s < phase.since_s + state.limits.loading_grace_s
    fixed = fixed_plan_of(picture)
    missing = missing_of(kinds, fixed)
    comes = may_load and all(name in kinds.coming for name in missing)
    if missing and picture.readmitted and not comes:
        fixed, missing = None, ()  # as after any loss on a picture: others make it by a plan of their own
    if missing:
        return _without_some(kinds, missing, may_load=may_load)
    kinds = kinds if fixed is None else kinds.only(fixed.agents)
    waits = fixed is not None and kinds.of(Bar.BUSY, Bar.OCCUPIED)
    if picture.has_begun and kinds.ready and not waits:
        # It does not wait for measurements of newcomers, nor for those who make another picture.
        return PlanNow(agents=kinds.ready, exclusions=kinds.exclusions(but=kinds.ready), fixed_plan=fixed)
    unmeasured = kinds.of(Bar.UNMEASURED)
    if kinds.ready and not unmeasured and not kinds.of(Bar.MEASURING) and not waits:
        agents = kinds.plannable
        return PlanNow(agents=agents, exclusions=kinds.exclusions(but=agents), fixed_plan=fixed)
    if measurements := due(state, picture, unmeasured, (*kinds.ready, *unmeasured), now_s):
        return Measure(measurements=measurements)
    return _wait_or_give_up(picture, kinds, may_load=may_load)


def fixed_plan_of(picture: Picture) -> Plan | None:
    """The client's plan as long as it can be followed: from the first step on, with all of its agents.

    One that is predicted not to fit is tried all the same, since a prediction may be too high; the devices decide.
    """
    plan = picture.fixed_plan
    if plan is None or picture.begin_step or any(agent in picture.lost for agent in plan.agents):
        return None
    return None if picture.short_of_memory.intersection(plan.agents) else plan


def missing_of(kinds: AgentKinds, plan: Plan | None) -> tuple[AgentId, ...]:
    """Agents of a plan that cannot take part, if there is one to follow."""
    needed = () if plan is None else plan.agents
    return tuple(name for name in needed if kinds.bars.get(name, Bar.ABSENT) not in FOR_NOW)


def not_all(kinds: AgentKinds, missing: tuple[AgentId, ...]) -> InvalidArgumentError:
    """Why the client's plan is no use: these of its agents cannot take part."""
    found = (exclusion_of(kinds.view, name) for name in missing)
    message = "; ".join(f"{exclusion.agent}: {exclusion.message}" for exclusion in found if exclusion is not None)
    return InvalidArgumentError.of("image.plan", f"not all of its agents can take part: {message}")


def _without_some(kinds: AgentKinds, missing: tuple[AgentId, ...], *, may_load: bool) -> Decision:
    """A plan that was given cannot be followed without agents that cannot take part now."""
    if may_load and all(name in kinds.coming for name in missing):
        return KeepWaiting(reason=f"not all agents of the plan are ready: {kinds.coming_message}", for_loading=True)
    drained = tuple(name for name in missing if name in kinds.of(Bar.DRAINED))
    if drained and all(name in (*kinds.coming, *drained) for name in missing):
        return _for_drained(drained)
    return GiveUp(error=not_all(kinds, missing))


def _wait_or_give_up(picture: Picture, kinds: AgentKinds, *, may_load: bool) -> Decision:
    """Nobody can begin now; somebody may be free later, or come, or be put back."""
    if kinds.of(Bar.UNMEASURED, Bar.MEASURING, Bar.BUSY, Bar.OCCUPIED):
        return KeepWaiting(for_measuring=bool(kinds.of(Bar.MEASURING)))
    if kinds.coming and may_load:
        return KeepWaiting(reason=f"nobody is ready: {kinds.coming_message}", for_loading=True)
    # A job that was accepted outlasts the drain of the last agent.
    if drained := kinds.of(Bar.DRAINED):
        return _for_drained(drained)
    return GiveUp(error=nobody(picture, kinds))


def _for_drained(agents: tuple[AgentId, ...]) -> KeepWaiting:
    reason = f"all that could make it are drained: {', '.join(agents)}; `polyrhythm drain --undo` puts one back"
    return KeepWaiting(reason=reason, for_drained=True)


def nobody(picture: Picture, kinds: AgentKinds) -> PolyrhythmError:
    """Why nobody can take part in a picture."""
    lost = {**picture.readmitted, **picture.lost}
    losses = {name: lost_earlier(reason, twice=False) for name, reason in lost.items()}
    present = {exclusion.agent: exclusion.message for exclusion in kinds.exclusions()}
    message = "; ".join(f"{name}: {why}" for name, why in {**losses, **present}.items())
    if losses:
        return AgentsLostError(f"no agent is left for the picture: {message}")
    return NoAgentsError(f"no agent can take part: {message or 'none is connected'}")
