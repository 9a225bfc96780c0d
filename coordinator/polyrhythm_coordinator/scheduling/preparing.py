"""From the turn of a picture to its plan: measurements are asked for, then the plan. Owns the profiles in the state."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from polyrhythm.errors import NoAgentsError, WireError
from polyrhythm.explanation import Exclusion, ExclusionReason
from polyrhythm.ids import AgentId
from polyrhythm.job_events import Delayed
from polyrhythm.messages import ProfileMeasured
from polyrhythm.profile import Workload
from polyrhythm_coordinator.scheduling.front import compare, hold
from polyrhythm_coordinator.scheduling.hopeless import counted
from polyrhythm_coordinator.scheduling.job_state import Picture, Planning, Preparing
from polyrhythm_coordinator.scheduling.lot import single_s
from polyrhythm_coordinator.scheduling.measured import measured_alone, profile_key, workload_of
from polyrhythm_coordinator.scheduling.measuring import ask, told_of
from polyrhythm_coordinator.scheduling.occupancy import situation
from polyrhythm_coordinator.scheduling.plan_tasks import ask_plan
from polyrhythm_coordinator.scheduling.pool import DRAINED, Ask, GiveUp, Go, KeepWaiting, decide, pool_of
from polyrhythm_coordinator.scheduling.profiles import profiles_of
from polyrhythm_coordinator.scheduling.recovery import give_up
from polyrhythm_coordinator.scheduling.turn import Turn


def prepare(turn: Turn, picture: Picture) -> None:
    """Goes on with a picture in phase Preparing, as far as it goes now."""
    assert isinstance(picture.phase, Preparing), f"{picture.job} is {picture.phase}"
    held_in = picture.phase.held_in
    if held_in is not None and held_in == situation(turn.state) and turn.now_s < picture.phase.held_until_s:
        return
    match decision := decide(turn.state, picture, picture.phase, turn.now_s):
        case GiveUp(error=error):
            give_up(turn, picture.job, error)
        case KeepWaiting():
            _wait(turn, picture, picture.phase, decision)
        case Ask(measurements=measurements):
            ask(turn, workload_of(picture.image), measurements)
            _tell_measuring(turn, picture)
        case Go():
            _plan(turn, picture, decision)
        case _:
            assert_never(decision)


def take_profile(turn: Turn, name: AgentId, event: ProfileMeasured) -> None:
    """Keeps a measurement, even one that nobody waits for any more.

    Raises:
        WireError: it is of another workload than was asked about.
    """
    agent = turn.state.agents[name]
    measuring = agent.measuring
    if measuring is None or measuring.number != event.request_id:
        return
    turn.put_agent(replace(agent, measuring=None))
    workload = measuring.workload
    if event.profile.workload != workload:
        raise WireError(f"profile_measured.profile: {name} was asked about {workload}, not {event.profile.workload}")
    facts = next((facts for facts in agent.models if facts.model == workload.model), None)
    if facts is None:
        return
    key = profile_key(agent.device, agent.software, facts, workload)
    known = turn.state.profiles.get(key)
    if known is None:
        known = measured_alone(event.profile, beside_work=measuring.beside_work)
    elif measuring.together:
        known = known.measured_together(event.profile)
    turn.state = replace(turn.state, profiles={**turn.state.profiles, key: known})


def give_up_measuring(turn: Turn, name: AgentId, request_id: int, detail: str) -> None:
    """An agent could not measure a size: it takes no part in pictures of it that are being prepared.

    One that was to stop has.
    """
    agent = turn.state.agents[name]
    measuring = agent.measuring
    if measuring is None or measuring.number != request_id:
        return
    turn.put_agent(replace(agent, measuring=None))
    if measuring.stopped:
        return
    exclusion = Exclusion(agent=name, reason=ExclusionReason.NOT_READY, detail=f"it could not measure: {detail}")
    for picture in turn.state.pictures:
        if isinstance(picture.phase, Preparing) and _asks(picture, picture.phase, name, measuring.workload):
            phase = replace(picture.phase, excluded={**picture.phase.excluded, name: exclusion})
            turn.put_picture(replace(picture, phase=phase))


def died_measuring(turn: Turn, name: AgentId, reason: str) -> None:
    """A worker ended while it measured, as the next one may: it counts against the pictures that asked for it."""
    measuring = turn.state.agents[name].measuring
    if measuring is None:
        return
    for picture in turn.state.pictures:
        asked = isinstance(picture.phase, Preparing) and _asks(picture, picture.phase, name, measuring.workload)
        if not asked or picture.job not in turn.state.jobs:  # given up for another of its pictures just now
            continue
        remembering, hopeless = counted(picture, f"{name} ({reason})", turn.limits)
        if hopeless is None:
            turn.put_picture(remembering)
        else:
            give_up(turn, picture.job, hopeless)


def _asks(picture: Picture, phase: Preparing, name: AgentId, workload: Workload) -> bool:
    """Whether a picture that is being prepared asks an agent to measure a size."""
    allowed = picture.image.overrides.allows(name) and name not in phase.excluded
    return allowed and workload == workload_of(picture.image)


def _tell_measuring(turn: Turn, picture: Picture) -> None:
    """Says what is measured, and how much of it is done, whenever something begins to be."""
    assert isinstance(picture.phase, Preparing), f"{picture.job} is {picture.phase}"
    told = told_of(turn.state, picture, pool_of(turn.state, picture, picture.phase, turn.now_s).candidates)
    turn.put_picture(replace(picture, told_measuring=True))
    turn.tell(picture.job, told)


def _wait(turn: Turn, picture: Picture, phase: Preparing, waiting: KeepWaiting) -> None:
    """Patience with workers that are loading begins when nothing else is waited for."""
    since_s = phase.since_s if waiting.for_loading else turn.now_s
    if (since_s, waiting.for_drained) != (phase.since_s, phase.shelved):
        picture = replace(picture, phase=replace(phase, since_s=since_s, shelved=waiting.for_drained))
        turn.put_picture(picture)
    if waiting.for_measuring and not picture.told_measuring:
        _tell_measuring(turn, picture)
    tell_delay(turn, turn.state.jobs[picture.job].pictures[picture.index], waiting.reason)


def wait_for_others(turn: Turn, picture: Picture, error: NoAgentsError) -> bool:
    """There is no plan with those who are free: waits for others, as long as they may come.

    Returns:
        Whether there are others to wait for.
    """
    assert isinstance(picture.phase, Planning), f"{picture.job} is {picture.phase}"
    since_s = turn.now_s if picture.unplanned_since_s is None else picture.unplanned_since_s
    phase = Preparing(since_s=turn.now_s, excluded=picture.phase.excluded)
    picture = replace(picture, unplanned_since_s=since_s)
    pool = pool_of(turn.state, picture, phase, turn.now_s)
    patient_until_s = since_s + turn.limits.loading_grace_s
    if (pool.busy or pool.occupied) and picture.fixed_plan is None:
        hold(turn, picture)
    elif pool.coming and turn.now_s < patient_until_s:
        hold(turn, picture, until_s=patient_until_s)
        _tell_unplanned(turn, picture, f"{error}; {pool.told_coming}")
    elif pool.drained and not picture.explain_only:
        hold(turn, picture, shelved=True)
        _tell_unplanned(turn, picture, f"{error}; {', '.join(pool.drained)}: {DRAINED}")
    else:
        return False
    return True


def _tell_unplanned(turn: Turn, picture: Picture, reason: str) -> None:
    tell_delay(turn, turn.state.jobs[picture.job].pictures[picture.index], reason)


def tell_delay(turn: Turn, picture: Picture, reason: str) -> None:
    """Says once why nobody works on a picture."""
    if reason != picture.told_delay:
        turn.put_picture(replace(picture, told_delay=reason))
        if reason:
            turn.tell(picture.job, Delayed(reason=reason))


def _plan(turn: Turn, picture: Picture, go: Go) -> None:
    """Asks for a plan at once where nothing is to be chosen: it is given, or the picture has begun."""
    if go.fixed_plan is None and not picture.has_begun:
        compare(turn, picture, go)
        return
    profiles = profiles_of(turn.state, picture, go.agents)
    expected_s = min(single_s(picture, profile, alone=profile.is_alone_among(())) for profile in profiles)
    agents = go.agents if go.fixed_plan is None else tuple(a for a in go.agents if a in go.fixed_plan.agents)
    ask_plan(turn, picture, agents, go.exclusions, fixed_plan=go.fixed_plan, expected_s=expected_s)
