"""From the turn of a job to its plan: measurements are asked for, then the plan. Owns the profiles in the state."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from polyrhythm.explanation import Exclusion, ExclusionReason
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job_events import Profiling
from polyrhythm.messages import MeasureProfile, ProfileMeasured
from polyrhythm.profile import Link, Profile
from polyrhythm_coordinator.scheduling.effects import ComputePlan, PlanTask
from polyrhythm_coordinator.scheduling.job_state import Job, Planning, Preparing
from polyrhythm_coordinator.scheduling.measured import MeasuredProfile, profile_key, workload_of
from polyrhythm_coordinator.scheduling.pool import Ask, GiveUp, Go, KeepWaiting, decide, key_of
from polyrhythm_coordinator.scheduling.request import PlanRequest
from polyrhythm_coordinator.scheduling.state import State
from polyrhythm_coordinator.scheduling.turn import Turn


def prepare(turn: Turn, name: JobId) -> None:
    """Goes on with a job in phase Preparing, as far as it goes now."""
    job = turn.state.jobs[name]
    assert isinstance(job.phase, Preparing), f"{name} is {job.phase}"
    match decision := decide(turn.state, job, job.phase, turn.now_s):
        case GiveUp(error=error):
            turn.fail_job(name, error)
        case KeepWaiting():
            pass
        case Ask(agents=agents):
            _ask(turn, job, agents)
        case Go():
            _compute_plan(turn, job, decision)
        case _:
            assert_never(decision)


def take_profile(turn: Turn, name: AgentId, event: ProfileMeasured) -> None:
    """Keeps a measurement, even one that nobody waits for any more."""
    agent = turn.state.agents[name]
    if agent.measuring != event.request_id:
        return
    turn.put_agent(replace(agent, measuring=None))
    workload = event.profile.workload
    facts = next((facts for facts in agent.models if facts.model == workload.model), None)
    if facts is None:
        return
    key = profile_key(agent.device, agent.software, facts, workload)
    measured = MeasuredProfile(measured=event.profile)
    turn.state = replace(turn.state, profiles={**turn.state.profiles, key: measured})


def give_up_measuring(turn: Turn, name: AgentId, request_id: int, detail: str) -> None:
    """An agent could not measure: it takes no part in pictures that are being prepared."""
    agent = turn.state.agents[name]
    if agent.measuring != request_id:
        return
    turn.put_agent(replace(agent, measuring=None))
    exclusion = Exclusion(agent=name, reason=ExclusionReason.NOT_READY, detail=f"it could not measure: {detail}")
    for job in tuple(turn.state.jobs.values()):
        if isinstance(job.phase, Preparing):
            phase = replace(job.phase, excluded={**job.phase.excluded, name: exclusion})
            turn.put_job(replace(job, phase=phase))


def _ask(turn: Turn, job: Job, agents: tuple[AgentId, ...]) -> None:
    for name in agents:
        number = turn.number()
        turn.put_agent(replace(turn.state.agents[name], measuring=number))
        turn.send(name, MeasureProfile(request_id=number, workload=workload_of(job.picture.image)))
    turn.tell(job.job, Profiling(agents=agents))


def _compute_plan(turn: Turn, job: Job, decision: Go) -> None:
    profiles = tuple(profile_of(turn.state, job, name) for name in decision.agents)
    request = plan_request(turn.state, job, profiles, job.picture.begin_step)
    task = PlanTask(request=request, exclusions=decision.exclusions, fixed_plan=decision.fixed_plan)
    number = turn.number()
    turn.put_job(replace(job, phase=Planning(number=number, task=task)))
    turn.emit(ComputePlan(job=job.job, number=number, task=task))


def profile_of(state: State, job: Job, name: AgentId) -> Profile:
    """What is known of an agent's speed.

    Raises:
        KeyError: nothing.
    """
    return state.profiles[key_of(state.agents[name], job)].for_agent(name)


def plan_request(state: State, job: Job, profiles: tuple[Profile, ...], begin_step: int) -> PlanRequest:
    """What a search is given.

    Args:
        state: links and memory are taken from it.
        job: whose picture.
        profiles: of the candidates, in rank order.
        begin_step: where the plan is to begin.
    """
    agents = tuple(profile.agent for profile in profiles)
    own_facts = {name: state.agents[name].own_facts(job.facts) or job.facts for name in agents}
    mixed = any(own.dtype != job.facts.dtype for own in own_facts.values())
    return PlanRequest(
        image=job.picture.image,
        facts=job.facts,
        own_facts=own_facts if mixed else {},
        profiles=profiles,
        links=_links(state, agents),
        usable_bytes={
            profile.agent: state.agents[profile.agent].usable_bytes_for(workload_of(job.picture.image))
            for profile in profiles
        },
        begin_step=begin_step,
        version=job.picture.last_version + 1,
    )


def _links(state: State, agents: tuple[AgentId, ...]) -> dict[tuple[AgentId, AgentId], Link]:
    uuids = {name: state.agents[name].device.uuid for name in agents}
    return {
        (one, other): state.links[uuids[one], uuids[other]]
        for one in agents
        for other in agents
        if one != other and (uuids[one], uuids[other]) in state.links
    }
