"""Another plan for the rest of a running picture: when one is searched, and what becomes of the answer.

Three causes: a member is drained, somebody may join, a member has changed its speed (``speed_change``). As long as the
gang stays the same, the epoch goes on and a newer plan version takes over at a boundary ahead; whoever is left out of
it stays in the gang without rows. For another gang, or another decoder, the epoch is ended at a boundary and a new one
goes on there.
"""

from __future__ import annotations

from dataclasses import replace
from math import log

from polyrhythm.ids import AgentId, EpochId
from polyrhythm.job.events import ReplanReason
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.plan import Plan
from polyrhythm.plan.profile import Profile
from polyrhythm_coordinator.scheduling.epochs.plan_switch import send_takeover, takeover_step
from polyrhythm_coordinator.scheduling.epochs.stopping import hand_over_epoch
from polyrhythm_coordinator.scheduling.fleet.eligibility import fixed_plan_of
from polyrhythm_coordinator.scheduling.fleet.measuring import ask, due, told_of
from polyrhythm_coordinator.scheduling.fleet.newcomers import available, unmeasured
from polyrhythm_coordinator.scheduling.fleet.planner_inputs import plan_request, profiles_of
from polyrhythm_coordinator.scheduling.fleet.profiles import keep_speeds
from polyrhythm_coordinator.scheduling.fleet.reservations import situation
from polyrhythm_coordinator.scheduling.planning.cost_model import GangCost, predict
from polyrhythm_coordinator.scheduling.planning.forecast import forecast
from polyrhythm_coordinator.scheduling.planning.measured_profiles import workload_of
from polyrhythm_coordinator.scheduling.planning.plan_algebra import rest_of, widened_plan
from polyrhythm_coordinator.scheduling.planning.speed_change import (
    BAND,
    SpeedWatch,
    scaled,
    times_evidence,
    worth_switching,
)
from polyrhythm_coordinator.scheduling.queue.waiting import wants_throughput
from polyrhythm_coordinator.scheduling.state.effects import ComputePlan, PlanTask
from polyrhythm_coordinator.scheduling.state.epoch import Epoch, EpochStage
from polyrhythm_coordinator.scheduling.state.events import PlanComputed, PlanFailed
from polyrhythm_coordinator.scheduling.state.job import Picture, Planning, Preparing
from polyrhythm_coordinator.scheduling.state.replan import Study, Takeover
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def consider(tx: Transaction, name: EpochId) -> None:
    """Starts a search if there is a cause and time enough for its answer."""
    epoch = tx.state.epochs[name]
    picture = tx.state.picture_of(epoch)
    revision = epoch.revision
    if epoch.stage is not EpochStage.RUNNING or picture is None or revision.study or revision.takeover:
        return
    if not _stirs(tx, epoch):
        return
    begin_step = takeover_step(epoch, tx.clock_s, revision.lead_s)
    if begin_step is None:
        return
    if fixed_plan_of(picture) is None and _may_join(tx, picture):
        _ask_newcomers(tx, picture, epoch)
    if _drain_decoder(tx, picture, tx.state.epochs[name], begin_step):
        return
    reason, agents = _cause(tx, picture, tx.state.epochs[name], begin_step)
    if reason is not None:
        _search(tx, picture, tx.state.epochs[name], reason, agents, begin_step)


def _stirs(tx: Transaction, epoch: Epoch) -> bool:
    """Whether there may be a cause; a quick look, since it is taken after every event."""
    revision, drained = epoch.revision, tx.state.drained
    return (
        any(agent in drained for agent in epoch.members)
        or any(agent not in revision.weighed for agent in tx.state.agents)
        or any(watch.departed for watch in revision.watches.values())
    )


def take_answer(tx: Transaction, event: PlanComputed | PlanFailed) -> None:
    """Sends the plan that was searched for an epoch if it is worth it and comes in time; ignores other answers."""
    epoch = _studied(tx.state, event.number)
    study = None if epoch is None else epoch.revision.study
    if epoch is None or study is None:
        return
    epoch = replace(epoch, revision=replace(epoch.revision, study=None))
    tx.put_epoch(epoch)
    picture = tx.state.picture_of(epoch)
    if epoch.stage is not EpochStage.RUNNING or picture is None:
        return
    keep_speeds(tx, picture, epoch)
    if isinstance(event, PlanFailed):
        if study.reason is ReplanReason.AGENT_DRAINED:  # the others cannot make it alone: asked once is enough
            kept = tx.state.drained.intersection(epoch.members)
            epoch = replace(epoch, revision=replace(epoch.revision, kept=kept))
        _leave_as_is(tx, epoch)
        return
    chosen = event.explanation.chosen.plan
    gone = frozenset(chosen.agents).difference(epoch.members, available(tx.state, picture))
    if gone:  # they have begun another picture meanwhile; once they are free they are somebody new
        revision = replace(epoch.revision, weighed=epoch.revision.weighed - gone)
        tx.put_epoch(replace(epoch, revision=revision))
        return
    if _replaces_decoder(tx, epoch, study, chosen):
        hand_over_epoch(tx, epoch.epoch, study.reason, chosen.agents)
    elif any(agent not in epoch.members for agent in chosen.agents):
        _weigh_joining(tx, epoch, study, event.explanation)
    else:
        _weigh_takeover(tx, epoch, study, event.explanation)


def _studied(state: State, number: int) -> Epoch | None:
    """The epoch for which a plan is searched under this number."""
    studied = (epoch for epoch in state.epochs.values() if epoch.revision.study is not None)
    return next((epoch for epoch in studied if epoch.revision.study and epoch.revision.study.number == number), None)


def _cause(
    tx: Transaction, picture: Picture, epoch: Epoch, begin_step: int
) -> tuple[ReplanReason | None, tuple[AgentId, ...]]:
    """Why a plan is searched now, and with whom."""
    drained, revision = tx.state.drained, epoch.revision
    staying = tuple(agent for agent in epoch.plan.agents if agent not in drained)
    holding = {
        share.agent for segment in rest_of(epoch.plan, begin_step) for share in segment.assignments if share.rows.count
    }
    if staying and holding & drained - revision.kept:
        return ReplanReason.AGENT_DRAINED, staying
    if fixed_plan_of(picture) is not None:
        return None, ()  # the client wants this plan and no other
    if _may_join(tx, picture):
        newcomers = tuple(agent for agent in available(tx.state, picture) if agent not in epoch.members)
    else:
        newcomers = ()
    if any(agent not in revision.weighed for agent in (*staying, *newcomers)):
        return ReplanReason.AGENT_JOINED, tuple(sorted((*staying, *newcomers)))
    if any(revision.watch(agent).departed for agent in staying):
        return ReplanReason.SPEED_CHANGED, staying
    return None, ()


def _may_join(tx: Transaction, picture: Picture) -> bool:
    """Whether free agents may join a picture: none is kept free for another one, and no decision about one is due."""
    if wants_throughput(picture):
        return False
    now = situation(tx.state)
    phases = [other.phase for other in tx.state.pictures if not other.explain_only]
    return not any(
        isinstance(phase, Planning) or (isinstance(phase, Preparing) and not phase.shelved and phase.held_in != now)
        for phase in phases
    )


def _search(
    tx: Transaction, picture: Picture, epoch: Epoch, reason: ReplanReason, agents: tuple[AgentId, ...], begin_step: int
) -> None:
    revision = epoch.revision
    everybody = sorted({*epoch.plan.agents, *agents})
    profiles = tuple(_profile_now(tx, picture, epoch, agent) for agent in everybody)
    request = plan_request(tx.state, picture, profiles, begin_step)
    number = tx.number()
    study = Study(number=number, reason=reason, request=request)
    weighed = revision.weighed.union(agents)
    tx.put_epoch(replace(epoch, revision=replace(revision, study=study, weighed=weighed)))
    candidates = tuple(profile for profile in profiles if profile.agent in agents)
    # Nobody waits for a newcomer's plan; one for the members is wanted before they have gone on too far.
    running = None if reason is ReplanReason.AGENT_JOINED else epoch.plan
    task = PlanTask(request=replace(request, profiles=candidates, running=running), exclusions=(), fixed_plan=None)
    tx.emit(ComputePlan(job=picture.job, number=number, task=task))


def _profile_now(tx: Transaction, picture: Picture, epoch: Epoch, agent: AgentId) -> Profile:
    """What its last beats say of a member, what was measured of anybody else."""
    if agent not in epoch.members:
        return profiles_of(tx.state, picture, (agent,))[0]
    return scaled(epoch.revision.assumed[agent], epoch.revision.watch(agent).ratio)


def _weigh_joining(tx: Transaction, epoch: Epoch, study: Study, explanation: Explanation) -> None:
    """Ends the epoch at a boundary if the gang with the newcomers finishes sooner, forming included."""
    chosen = explanation.chosen
    new_s = chosen.prediction.denoise_s + chosen.prediction.decode_s
    if worth_switching(_rest_s(epoch, study), new_s, tx.limits.forming_s):
        hand_over_epoch(tx, epoch.epoch, study.reason, chosen.plan.agents)


def _weigh_takeover(tx: Transaction, epoch: Epoch, study: Study, explanation: Explanation) -> None:
    gang, request = epoch.plan.agents, study.request
    plan = widened_plan(explanation.chosen.plan, gang, epoch.plan.decoder)
    prediction = predict(plan, request)
    new_s = prediction.denoise_s + prediction.decode_s
    if _is_outdated(epoch, study):
        return
    must = study.reason is ReplanReason.AGENT_DRAINED
    if not must and not worth_switching(_rest_s(epoch, study), new_s, tx.limits.switch_s):
        _leave_as_is(tx, epoch)
        return
    earliest = takeover_step(epoch, tx.clock_s, epoch.revision.lead_s / 2)
    if earliest is None or plan.begin_step < earliest:
        tx.put_epoch(replace(epoch, revision=epoch.revision.late(study.reason)))
        return
    assumed = {agent: request.profile(agent) for agent in gang}
    picture = tx.state.picture_of(epoch)
    assert picture is not None, f"{epoch.epoch} works for nobody"
    speed_plans = picture.speed_plans + (study.reason is ReplanReason.SPEED_CHANGED)
    takeover = Takeover(
        plan=plan,
        forecast=forecast(plan, prediction, assumed),
        assumed=assumed,
        needs_bytes={share.agent: share.memory_bytes for share in prediction.agents},
        reason=study.reason,
        watches=dict.fromkeys(gang, SpeedWatch(times=times_evidence(speed_plans))),
    )
    send_takeover(tx, epoch, takeover)


def _is_outdated(epoch: Epoch, study: Study) -> bool:
    """Whether another member has changed its speed too while the plan was searched: another search takes its place.

    What slows all alike is told by one of them first.
    """
    if study.reason is not ReplanReason.SPEED_CHANGED:
        return False
    watches = ((agent, watch) for agent, watch in epoch.revision.watches.items() if watch.departed)
    return any(
        abs(log(epoch.revision.assumed[agent].per_row_s * watch.ratio / study.request.profile(agent).per_row_s))
        > log(BAND)
        for agent, watch in watches
    )


def _rest_s(epoch: Epoch, study: Study) -> float:
    """Predicted seconds of the rest, decoding included, by the plan in force at the speeds as they are now."""
    cost = GangCost(request=study.request.among(epoch.plan.agents), agents=epoch.plan.agents)
    steps_s = sum(cost.segment_s(segment) for segment in rest_of(epoch.plan, study.request.begin_step))
    return steps_s + study.request.profile(epoch.plan.decoder).decode_s


def _leave_as_is(tx: Transaction, epoch: Epoch) -> None:
    """No other plan is worth it at the speeds that were weighed: they are the known ones."""
    watches = {agent: watch.weighed() for agent, watch in epoch.revision.watches.items()}
    tx.put_epoch(replace(epoch, revision=replace(epoch.revision, watches=watches)))


def _drain_decoder(tx: Transaction, picture: Picture, epoch: Epoch, begin_step: int) -> bool:
    """The decoder of an epoch never changes: if it is drained, another gang goes on, if there is a plan for one."""
    others = available(tx.state, picture)
    if epoch.plan.decoder not in tx.state.drained - epoch.revision.kept or not others:
        return False
    _search(tx, picture, epoch, ReplanReason.AGENT_DRAINED, others, begin_step)
    return True


def _replaces_decoder(tx: Transaction, epoch: Epoch, study: Study, chosen: Plan) -> bool:
    drained = tx.state.drained
    decoder_leaves = study.reason is ReplanReason.AGENT_DRAINED and epoch.plan.decoder in drained
    return decoder_leaves and drained.isdisjoint(chosen.agents)


def _ask_newcomers(tx: Transaction, picture: Picture, epoch: Epoch) -> None:
    """Lets agents that came while the picture runs measure its size, once, if enough of it is left."""
    if epoch.forecast.left_s(epoch.step) < tx.limits.join_left_s:
        return
    agents = tuple(agent for agent in unmeasured(tx.state, picture) if agent not in picture.asked)
    if not agents:
        return
    measurements = due(tx.state, picture, agents, agents, tx.now_s)
    agents = tuple(measurement.agent for measurement in measurements)
    if not agents:
        return
    ask(tx, workload_of(picture.image), measurements)
    tx.put_picture(replace(picture, asked=picture.asked.union(agents)))
    tx.tell(picture.job, told_of(tx.state, picture, agents, tx.now_s))
