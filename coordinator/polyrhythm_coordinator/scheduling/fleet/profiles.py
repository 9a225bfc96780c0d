"""What an epoch has shown of its members' speeds goes into their profiles at once.

The profiles' own averages follow slowly, as befits noise; a change that the hysteresis of ``speed_change`` lets pass
is none. What has made a device slower itself does so alone and beside others; others of its host that have begun or
ended something else since the plan was made do not.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.ids import AgentId
from polyrhythm_coordinator.scheduling.fleet.eligibility import key_of
from polyrhythm_coordinator.scheduling.planning.forecast import works_alone
from polyrhythm_coordinator.scheduling.planning.measured_profiles import MeasuredProfile
from polyrhythm_coordinator.scheduling.planning.speed_change import scaled
from polyrhythm_coordinator.scheduling.state.epoch import Epoch
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def keep_speeds(tx: Transaction, picture: Picture, epoch: Epoch) -> None:
    """Later plans rest on the speeds that members have changed to: those of the rest of the picture, and of later ones.

    Args:
        tx: the transition.
        picture: that is made.
        epoch: in which they were seen, running or at its end.
    """
    revision, profiles = epoch.revision, dict(tx.state.profiles)
    for agent, watch in revision.watches.items():
        member = tx.state.agents.get(agent)
        if member is None or not watch.departed:
            continue
        key = key_of(member, picture)
        known = profiles.get(key)
        if known is not None:
            profiles[key] = _moved(known, epoch, agent)
    tx.state = replace(tx.state, profiles=profiles)


def _moved(known: MeasuredProfile, epoch: Epoch, agent: AgentId) -> MeasuredProfile:
    """What is known of a member whose speed has departed from what its plan assumed."""
    revision, in_company = epoch.revision, epoch.members[agent].in_company
    seen = scaled(revision.assumed[agent], revision.watch(agent).ratio)
    if in_company == seen.in_company:
        return known.moved_to(seen)
    segment = next(s for s in epoch.plan.segments if epoch.boundary <= s.end_step)  # of the last beat
    line = seen.line(alone=works_alone(agent, segment, revision.assumed))
    alone = works_alone(agent, segment, revision.at_present(agent, in_company=in_company))
    return known.line_moved_to(line, alone=alone)
