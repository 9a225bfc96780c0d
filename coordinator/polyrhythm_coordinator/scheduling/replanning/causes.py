"""Why another plan is searched for the rest of a running picture, and with whom.

Causes are: a member is drained, somebody may join, a member has changed its speed (``speed_change``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from polyrhythm.ids import AgentId, EpochId
from polyrhythm.job.events import ReplanReason
from polyrhythm.plan.profile import Profile
from polyrhythm_coordinator.scheduling.epochs.plan_switch import takeover_step
from polyrhythm_coordinator.scheduling.fleet.agent_kinds import agent_kinds
from polyrhythm_coordinator.scheduling.fleet.decision import fixed_plan_of
from polyrhythm_coordinator.scheduling.fleet.eligibility import Bar
from polyrhythm_coordinator.scheduling.fleet.measuring import ask_to_measure, due, measuring_message
from polyrhythm_coordinator.scheduling.fleet.planner_inputs import plan_request, profiles_of
from polyrhythm_coordinator.scheduling.fleet.situation import situation
from polyrhythm_coordinator.scheduling.planning.measured_profiles import workload_of
from polyrhythm_coordinator.scheduling.planning.plan_algebra import rest_of
from polyrhythm_coordinator.scheduling.planning.plan_request import SearchEffort
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask
from polyrhythm_coordinator.scheduling.planning.speed_change import scaled
from polyrhythm_coordinator.scheduling.queue.waiting import wants_throughput
from polyrhythm_coordinator.scheduling.state.effects import ComputePlan
from polyrhythm_coordinator.scheduling.state.epoch import Epoch, EpochStage
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.phases import (
    Comparing,
    Held,
    Phase,
    Planning,
    Preparing,
    Running,
    Shelved,
    Situation,
    Waiting,
)
from polyrhythm_coordinator.scheduling.state.replan import PendingSearch
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a plan is searched, and with which agents."""

    reason: ReplanReason
    agents: tuple[AgentId, ...]


def consider(tx: Transaction, name: EpochId) -> None:
    """Starts a search if there is a cause and time enough for its answer."""
    epoch = tx.state.epochs[name]
    picture, replan = tx.state.picture_of(epoch), epoch.replan
    if epoch.stage is not EpochStage.RUNNING or picture is None or replan.search or replan.takeover:
        return
    if not _may_be_cause(tx.state, epoch):
        return
    begin_step = takeover_step(epoch, tx.clock_s, replan.lead_s)
    if begin_step is None:
        return
    kinds, may_join = agent_kinds(tx.state, picture, tx.now_s), _may_join(tx.state, picture)
    if fixed_plan_of(picture) is None and may_join:
        _ask_newcomers(tx, picture, epoch, kinds.of(Bar.UNMEASURED))
    cause = _cause(tx.state, picture, epoch, begin_step, kinds.ready, may_join=may_join)
    if cause is not None:
        _search(tx, picture, epoch, cause, begin_step)


def _may_be_cause(state: State, epoch: Epoch) -> bool:
    """A quick look, since it is taken after every event."""
    return (
        any(agent in state.drained for agent in epoch.members)
        or any(agent not in epoch.replan.weighed for agent in state.agents)
        or any(watch.departed for watch in epoch.replan.watches.values())
    )


def _cause(
    state: State, picture: Picture, epoch: Epoch, begin_step: int, ready: tuple[AgentId, ...], *, may_join: bool
) -> Cause | None:
    """Why a plan is searched now.

    Args:
        state: the present.
        picture: that is made.
        epoch: in which.
        begin_step: from which on the plan would be followed.
        ready: agents that could compute rows of it, members included.
        may_join: whether those that are not members may.
    """
    replan, leaving = epoch.replan, state.drained - epoch.replan.kept
    if epoch.plan.decoder in leaving and ready:  # an epoch never changes its decoder: another gang is needed
        return Cause(ReplanReason.AGENT_DRAINED, ready)
    staying = tuple(agent for agent in epoch.plan.agents if agent not in state.drained)
    rest = rest_of(epoch.plan, begin_step)
    holding = {share.agent for segment in rest for share in segment.assignments if share.rows.count}
    if staying and holding & leaving:
        return Cause(ReplanReason.AGENT_DRAINED, staying)
    if fixed_plan_of(picture) is not None:
        return None  # the client wants this plan and no other
    newcomers = tuple(agent for agent in ready if agent not in epoch.members) if may_join else ()
    if any(agent not in replan.weighed for agent in (*staying, *newcomers)):
        return Cause(ReplanReason.AGENT_JOINED, tuple(sorted((*staying, *newcomers))))
    if any(replan.watch(agent).departed for agent in staying):
        return Cause(ReplanReason.SPEED_CHANGED, staying)
    return None


def _may_join(state: State, picture: Picture) -> bool:
    """Whether free agents may join a picture: none is kept free for another one, and no decision about one is due."""
    if wants_throughput(picture):
        return False
    now = situation(state)
    return not any(_is_due(other.phase, now) for other in state.pictures)


def _is_due(phase: Phase, now: Situation) -> bool:
    """Whether it is yet to be decided by whom a picture is made, or agents are kept free for it."""
    match phase:
        case Preparing() | Comparing() | Planning():
            return True
        case Held(situation=held_in):
            return held_in != now
        case Waiting() | Shelved() | Running():
            return False
        case _:
            assert_never(phase)


def _ask_newcomers(tx: Transaction, picture: Picture, epoch: Epoch, unmeasured: tuple[AgentId, ...]) -> None:
    """Lets agents that came while the picture runs measure its size, once, if enough of it is left."""
    if epoch.forecast.left_s(epoch.step) < tx.limits.join_left_s:
        return
    agents = tuple(agent for agent in unmeasured if agent not in picture.asked)
    measurements = due(tx.state, picture, agents, agents, tx.now_s)
    if not measurements:
        return
    ask_to_measure(tx, workload_of(picture.image), measurements)
    agents = tuple(measurement.agent for measurement in measurements)
    tx.put_picture(replace(picture, asked=picture.asked.union(agents)))
    tx.tell(picture.job, measuring_message(tx.state, picture, agents, tx.now_s), image_index=picture.index)


def _search(tx: Transaction, picture: Picture, epoch: Epoch, cause: Cause, begin_step: int) -> None:
    everybody = sorted({*epoch.plan.agents, *cause.agents})
    profiles = tuple(_profile_now(tx.state, picture, epoch, agent) for agent in everybody)
    request = plan_request(tx.state, picture, profiles, begin_step)
    number = tx.number()
    search = PendingSearch(number=number, reason=cause.reason, request=request)
    weighed = epoch.replan.weighed.union(cause.agents)
    tx.put_epoch(replace(epoch, replan=replace(epoch.replan, search=search, weighed=weighed)))
    candidates = tuple(profile for profile in profiles if profile.agent in cause.agents)
    # Nobody waits for a newcomer's plan; one for the members is wanted before they have gone on too far.
    effort = SearchEffort.FULL if cause.reason is ReplanReason.AGENT_JOINED else SearchEffort.QUICK
    asked = replace(request, profiles=candidates, effort=effort, running=epoch.plan)
    task = PlanTask(request=asked, exclusions=(), fixed_plan=None)
    tx.emit(ComputePlan(job=picture.job, number=number, task=task))


def _profile_now(state: State, picture: Picture, epoch: Epoch, agent: AgentId) -> Profile:
    """What its last beats say of a member, what was measured of anybody else."""
    if agent not in epoch.members:
        return profiles_of(state, picture, (agent,))[0]
    return scaled(epoch.replan.assumed[agent], epoch.replan.watch(agent).ratio)
