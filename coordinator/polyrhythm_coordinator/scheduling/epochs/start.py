"""From a plan to an epoch: whether the plan can still be followed, and by whom the state to go on from is held."""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.ids import AgentId
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.plan import Plan
from polyrhythm_coordinator.scheduling.epochs.plan_delivery import start
from polyrhythm_coordinator.scheduling.fleet.eligibility import key_of, mismatch
from polyrhythm_coordinator.scheduling.fleet.planner_inputs import plan_request, profiles_of
from polyrhythm_coordinator.scheduling.fleet.reservations import promised_agents
from polyrhythm_coordinator.scheduling.planning.explanation import predicted
from polyrhythm_coordinator.scheduling.planning.plan_algebra import widened_plan
from polyrhythm_coordinator.scheduling.state.job import Picture, Planning, Preparing
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def start_or_prepare(tx: Transaction, picture: Picture, explanation: Explanation) -> None:
    """Starts what was planned; if the fleet has changed under it, the picture is planned again."""
    explanation = _led(tx.state, picture, explanation)
    led = _is_led(picture, explanation.chosen.plan)
    if led and can_start(tx.state, picture, explanation.chosen.plan):
        start(tx, picture, explanation)
        return
    # Somebody must hold the state from which the picture goes on; if the best plan needs none of them, they work alone.
    tx.put_picture(replace(picture, phase=Preparing(since_s=tx.now_s, holders_only=not led)))


def can_start(state: State, picture: Picture, plan: Plan) -> bool:
    """Whether all members of a plan are there, able and free."""
    promised = promised_agents(state, but=picture)
    return all(name not in promised and _is_able(state, picture, plan, name) for name in plan.agents)


def _is_led(picture: Picture, plan: Plan) -> bool:
    return not plan.begin_step or any(agent in picture.holders for agent in plan.agents)


def _led(state: State, picture: Picture, explanation: Explanation) -> Explanation:
    """A plan with somebody who holds the state to go on from: if it needs none of them, one joins without rows."""
    plan, phase = explanation.chosen.plan, picture.phase
    assert isinstance(phase, Planning), f"{picture.job} is {phase}"
    if _is_led(picture, plan):
        return explanation
    holders = [name for name in picture.holders if name in state.agents and name not in picture.lost]
    measured = [
        name for name in holders if key_of(state.agents[name], picture) in state.profiles and not _works(state, name)
    ]
    if not measured:
        return explanation
    root = min(measured, key=lambda name: (name in state.drained, name))
    profiles = (*phase.task.request.profiles, *profiles_of(state, picture, (root,)))
    known = {profile.agent: profile for profile in profiles}
    request = plan_request(state, picture, tuple(known[name] for name in sorted(known)), plan.begin_step)
    wide = widened_plan(plan, tuple(sorted((*plan.agents, root))), plan.decoder)
    chosen = replace(explanation.chosen, plan=wide, prediction=predicted(wide, request))
    return replace(explanation, chosen=chosen, profiles=request.profiles)


def _works(state: State, name: AgentId) -> bool:
    return state.agents[name].epoch is not None


def _is_able(state: State, picture: Picture, plan: Plan, name: AgentId) -> bool:
    agent = state.agents.get(name)
    return (
        agent is not None
        and agent.worker_ready
        and agent.epoch is None
        and agent.measuring is None
        and mismatch(agent, picture) is None
        and name not in picture.lost
        and (name not in state.drained or _is_idle(plan, name))
    )


def _is_idle(plan: Plan, name: AgentId) -> bool:
    return not any(segment.of(name).rows.count for segment in plan.segments)
