"""What an epoch has shown of its members' speeds goes into their profiles at once.

The profiles' own averages follow slowly, as befits noise; a change that the hysteresis of ``replan_rule`` lets pass
is none.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm_coordinator.scheduling.epoch_state import Epoch
from polyrhythm_coordinator.scheduling.job_state import Picture
from polyrhythm_coordinator.scheduling.pool import key_of
from polyrhythm_coordinator.scheduling.replan_rule import scaled
from polyrhythm_coordinator.scheduling.turn import Turn


def keep_speeds(turn: Turn, picture: Picture, epoch: Epoch) -> None:
    """Later plans rest on the speeds that members have changed to: those of the rest of the picture, and of later ones.

    Args:
        turn: the transition.
        picture: that is made.
        epoch: in which they were seen, running or at its end.
    """
    revision, profiles = epoch.revision, dict(turn.state.profiles)
    for agent, watch in revision.watches.items():
        member = turn.state.agents.get(agent)
        if member is None or not watch.departed:
            continue
        key = key_of(member, picture)
        known = profiles.get(key)
        if known is not None:
            profiles[key] = known.moved_to(scaled(revision.assumed[agent], watch.ratio))
    turn.state = replace(turn.state, profiles=profiles)
