"""What is known of agents' speeds. The one writer of ``State.profiles``.

What an agent measures is kept as it is. Averages of later beats follow slowly, as befits noise; a change of speed that
the hysteresis of ``speed_change`` lets pass is none, and counts at once. What slows a device itself does so alone and
beside others of its host; what those have begun or ended since the plan was made does not.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.errors import WireError
from polyrhythm.ids import AgentId
from polyrhythm.job.reports import BeatReport
from polyrhythm.plan.plan import Segment
from polyrhythm.session.events import ProfileMeasured
from polyrhythm_coordinator.scheduling.planning.forecast import works_alone
from polyrhythm_coordinator.scheduling.planning.measured_profiles import (
    MeasuredProfile,
    ProfileKey,
    measured_alone,
    workload_of,
)
from polyrhythm_coordinator.scheduling.planning.speed_change import scaled
from polyrhythm_coordinator.scheduling.state.epoch import Epoch
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.state import Agent, State
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def profile_key_of(agent: Agent, picture: Picture) -> ProfileKey:
    """Under which an agent's profile for a picture is kept."""
    return agent.profile_key(picture.facts, workload_of(picture.image))


def known_profile(state: State, picture: Picture, name: AgentId) -> MeasuredProfile | None:
    """What is known of a connected agent's speed on a picture; None where it has not measured yet."""
    return state.profiles.get(profile_key_of(state.agents[name], picture))


def take_profile(tx: Transaction, name: AgentId, event: ProfileMeasured) -> None:
    """Keeps a measurement, even one that nobody waits for any more.

    Raises:
        WireError: it is of another workload than was asked about.
    """
    agent = tx.state.agents[name]
    measuring = agent.measuring
    if measuring is None or measuring.number != event.request_id:
        return
    workload = measuring.workload
    if event.profile.workload != workload:
        raise WireError(f"profile_measured.profile: {name} was asked about {workload}, not {event.profile.workload}")
    tx.put_agent(replace(agent, measuring=None))
    facts = next((facts for facts in agent.models if facts.name == workload.model), None)
    if facts is None:
        return
    key = agent.profile_key(facts, workload)
    known = tx.state.profiles.get(key)
    if known is None:
        _put(tx, key, measured_alone(event.profile, beside_work=measuring.beside_work))
    elif measuring.together:
        _put(tx, key, known.measured_together(event.profile))


def refine(tx: Transaction, picture: Picture, epoch: Epoch, segment: Segment, agent: AgentId, beat: BeatReport) -> None:
    """Lets a member's profile follow its measured speed.

    Args:
        tx: the transition.
        picture: that is made.
        epoch: in which.
        segment: of the beat.
        agent: whose beat it was.
        beat: as it was reported.
    """
    known, in_company = known_profile(tx.state, picture, agent), epoch.members[agent].in_company
    if known is None or (in_company and known.together is None):
        return  # measured for somebody who works alone: its speed beside others is not known apart
    alone = works_alone(agent, segment, epoch.replan.at_present(agent, in_company=in_company))
    refined = known.refined(segment.of(agent).rows.count, beat.active_steps, beat.wall_s - beat.wait_s, alone=alone)
    _put(tx, profile_key_of(tx.state.agents[agent], picture), refined)


def keep_speeds(tx: Transaction, picture: Picture, epoch: Epoch) -> None:
    """Later plans rest on the speeds that members have changed to: those of the rest of the picture, and of later ones.

    Args:
        tx: the transition.
        picture: that is made.
        epoch: in which they were seen, running or at its end.
    """
    for agent, watch in epoch.replan.watches.items():
        if agent not in tx.state.agents or not watch.departed:
            continue
        known = known_profile(tx.state, picture, agent)
        if known is not None:
            _put(tx, profile_key_of(tx.state.agents[agent], picture), _moved(known, epoch, agent))


def _put(tx: Transaction, key: ProfileKey, profile: MeasuredProfile) -> None:
    tx.state = replace(tx.state, profiles={**tx.state.profiles, key: profile})


def _moved(known: MeasuredProfile, epoch: Epoch, agent: AgentId) -> MeasuredProfile:
    """What is known of a member whose speed has departed from what its plan assumed."""
    replan, in_company = epoch.replan, epoch.members[agent].in_company
    seen = scaled(replan.assumed[agent], replan.watch(agent).ratio)
    if in_company == seen.in_company:
        return known.moved_to(seen)
    segment = next(s for s in epoch.plan.segments if epoch.boundary <= s.end_step)  # of the last beat
    line = seen.line(alone=works_alone(agent, segment, replan.assumed))
    alone = works_alone(agent, segment, replan.at_present(agent, in_company=in_company))
    return known.line_moved_to(line, alone=alone)
