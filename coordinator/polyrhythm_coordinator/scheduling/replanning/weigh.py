"""What becomes of another plan for the rest of a running picture, once it was searched.

As long as the gang stays the same, the epoch goes on and a newer plan version takes over at a boundary ahead; whoever
is left out of it stays in the gang without rows. For another gang, or another decoder, the epoch is ended at a boundary
and a new one goes on there.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.job.events import ReplanReason
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.plan import Plan
from polyrhythm_coordinator.scheduling.epochs.plan_switch import send_takeover, takeover_step
from polyrhythm_coordinator.scheduling.epochs.stopping import hand_over_epoch
from polyrhythm_coordinator.scheduling.fleet.agent_kinds import agent_kinds
from polyrhythm_coordinator.scheduling.fleet.profiles import keep_speeds
from polyrhythm_coordinator.scheduling.planning.cost_model import predict
from polyrhythm_coordinator.scheduling.planning.forecast import forecast
from polyrhythm_coordinator.scheduling.planning.plan_algebra import widened_plan
from polyrhythm_coordinator.scheduling.planning.speed_change import SpeedWatch, times_evidence, worth_switching
from polyrhythm_coordinator.scheduling.replanning.worth import is_outdated, rest_s
from polyrhythm_coordinator.scheduling.state.epoch import Epoch, EpochStage
from polyrhythm_coordinator.scheduling.state.events import PlanComputed, PlanFailed
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.replan import PendingSearch, Takeover
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def take_answer(tx: Transaction, event: PlanComputed | PlanFailed) -> None:
    """Sends the plan that was searched for an epoch if it is worth it and comes in time; ignores other answers."""
    epoch = _searched(tx.state, event.number)
    search = None if epoch is None else epoch.replan.search
    if epoch is None or search is None:
        return
    epoch = replace(epoch, replan=replace(epoch.replan, search=None))
    tx.put_epoch(epoch)
    picture = tx.state.picture_of(epoch)
    if epoch.stage is not EpochStage.RUNNING or picture is None:
        return
    keep_speeds(tx, picture, epoch)
    if isinstance(event, PlanFailed):
        if search.reason is ReplanReason.AGENT_DRAINED:  # the others cannot make it alone: asked once is enough
            kept = tx.state.drained.intersection(epoch.members)
            epoch = replace(epoch, replan=replace(epoch.replan, kept=kept))
        _leave_as_is(tx, epoch)
        return
    chosen = event.explanation.chosen.plan
    gone = frozenset(chosen.agents).difference(epoch.members, agent_kinds(tx.state, picture, tx.now_s).ready)
    if gone:  # they have begun another picture meanwhile; once they are free they are somebody new
        tx.put_epoch(replace(epoch, replan=replace(epoch.replan, weighed=epoch.replan.weighed - gone)))
    elif _replaces_decoder(tx.state, epoch, search, chosen):
        hand_over_epoch(tx, epoch.epoch, search.reason, chosen.agents)
    elif any(agent not in epoch.members for agent in chosen.agents):
        _weigh_joining(tx, epoch, search, event.explanation)
    elif not is_outdated(epoch, search):
        _weigh_takeover(tx, picture, epoch, search, event.explanation)


def _searched(state: State, number: int) -> Epoch | None:
    """The epoch for which a plan is searched under this number."""
    found = (epoch for epoch in state.epochs.values() if epoch.replan.search and epoch.replan.search.number == number)
    return next(found, None)


def _replaces_decoder(state: State, epoch: Epoch, search: PendingSearch, chosen: Plan) -> bool:
    decoder_leaves = search.reason is ReplanReason.AGENT_DRAINED and epoch.plan.decoder in state.drained
    return decoder_leaves and state.drained.isdisjoint(chosen.agents)


def _weigh_joining(tx: Transaction, epoch: Epoch, search: PendingSearch, explanation: Explanation) -> None:
    """Ends the epoch at a boundary if the gang with the newcomers finishes sooner, forming included."""
    chosen = explanation.chosen
    new_s = chosen.prediction.denoise_s + chosen.prediction.decode_s
    if worth_switching(rest_s(epoch, search), new_s, tx.limits.forming_s):
        hand_over_epoch(tx, epoch.epoch, search.reason, chosen.plan.agents)


def _weigh_takeover(
    tx: Transaction, picture: Picture, epoch: Epoch, search: PendingSearch, explanation: Explanation
) -> None:
    """Sends the plan to the gang if it is worth it, or must be, and can be held by all before it takes over."""
    gang, request = epoch.plan.agents, search.request
    plan = widened_plan(explanation.chosen.plan, gang, epoch.plan.decoder)
    prediction = predict(plan, request)
    new_s = prediction.denoise_s + prediction.decode_s
    must = search.reason is ReplanReason.AGENT_DRAINED
    if not must and not worth_switching(rest_s(epoch, search), new_s, tx.limits.switch_s):
        _leave_as_is(tx, epoch)
        return
    earliest = takeover_step(epoch, tx.clock_s, epoch.replan.lead_s / 2)
    if earliest is None or plan.begin_step < earliest:
        tx.put_epoch(replace(epoch, replan=epoch.replan.late(search.reason)))
        return
    assumed = {agent: request.profile(agent) for agent in gang}
    speed_plans = picture.speed_plans + (search.reason is ReplanReason.SPEED_CHANGED)
    takeover = Takeover(
        plan=plan,
        forecast=forecast(plan, prediction, assumed),
        assumed=assumed,
        needs_bytes={share.agent: share.memory_bytes for share in prediction.agents},
        reason=search.reason,
        watches=dict.fromkeys(gang, SpeedWatch(times=times_evidence(speed_plans))),
    )
    send_takeover(tx, picture, epoch, takeover)


def _leave_as_is(tx: Transaction, epoch: Epoch) -> None:
    """No other plan is worth it at the speeds that were weighed: they are the known ones."""
    watches = {agent: watch.weighed() for agent, watch in epoch.replan.watches.items()}
    tx.put_epoch(replace(epoch, replan=replace(epoch.replan, watches=watches)))
