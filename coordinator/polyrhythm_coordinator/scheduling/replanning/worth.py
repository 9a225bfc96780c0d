"""Whether a plan that was searched for the rest of a running picture is still the right answer, and worth it. Pure."""

from __future__ import annotations

from math import log

from polyrhythm.job.events import ReplanReason
from polyrhythm_coordinator.scheduling.planning.cost_model import GangCost
from polyrhythm_coordinator.scheduling.planning.plan_algebra import rest_of
from polyrhythm_coordinator.scheduling.planning.speed_change import BAND
from polyrhythm_coordinator.scheduling.state.epoch import Epoch
from polyrhythm_coordinator.scheduling.state.replan import PendingSearch


def rest_s(epoch: Epoch, search: PendingSearch) -> float:
    """Predicted seconds of the rest, decoding included, by the plan in force at the speeds as they are now."""
    cost = GangCost(request=search.request.among(epoch.plan.agents), agents=epoch.plan.agents)
    steps_s = sum(cost.segment_s(segment) for segment in rest_of(epoch.plan, search.request.begin_step))
    return steps_s + search.request.profile(epoch.plan.decoder).decode_s


def is_outdated(epoch: Epoch, search: PendingSearch) -> bool:
    """Whether another member has changed its speed too while the plan was searched: another search takes its place.

    What slows all alike is told by one of them first.
    """
    if search.reason is not ReplanReason.SPEED_CHANGED:
        return False
    watches = ((agent, watch) for agent, watch in epoch.replan.watches.items() if watch.departed)
    return any(
        abs(log(epoch.replan.assumed[agent].per_row_s * watch.ratio / search.request.profile(agent).per_row_s))
        > log(BAND)
        for agent, watch in watches
    )
