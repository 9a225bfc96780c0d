"""The queue: whose turn it is, what its clients are told of it, how a job is cancelled.

``advance`` looks at the whole state and does whatever can be done now. Every transition ends with it, so no handler has
to know what its event made possible.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.explanation import Explanation
from polyrhythm.ids import AgentId
from polyrhythm.job_events import Planned, Queued
from polyrhythm.messages import ForgetJob
from polyrhythm.plan import Plan
from polyrhythm_coordinator.scheduling.admission import refuse, review_all
from polyrhythm_coordinator.scheduling.effects import EndJob, ReadinessChanged
from polyrhythm_coordinator.scheduling.epochs import start
from polyrhythm_coordinator.scheduling.events import JobCancelled, PlanComputed, PlanFailed
from polyrhythm_coordinator.scheduling.explain import predicted
from polyrhythm_coordinator.scheduling.job_state import Job, Planning, Preparing, Running, Waiting
from polyrhythm_coordinator.scheduling.pool import Go, decide, key_of, mismatch
from polyrhythm_coordinator.scheduling.preparing import plan_request, prepare, profile_of
from polyrhythm_coordinator.scheduling.recovery import cancel_epoch
from polyrhythm_coordinator.scheduling.replanning import consider, take_answer
from polyrhythm_coordinator.scheduling.state import State
from polyrhythm_coordinator.scheduling.turn import Turn, without
from polyrhythm_coordinator.scheduling.widening import widened_plan


def cancel(turn: Turn, event: JobCancelled) -> None:
    """Ends a job whose client wants no more of it. Its epoch is wound up before the next job starts."""
    applicant = turn.state.applicants.get(event.job)
    if applicant is not None:
        refuse(turn, applicant, event.error)
    job = turn.state.jobs.get(event.job)
    if job is None:
        return
    turn.fail_job(job.job, event.error)
    if isinstance(job.phase, Running):
        cancel_epoch(turn, job.phase.epoch)


def take_plan(turn: Turn, event: PlanComputed) -> None:
    """Starts what was planned, unless the fleet has changed under it."""
    job = _planning(turn.state, event)
    if job is None:
        take_answer(turn, event)
        return
    if job.explain_only:
        turn.tell(job.job, Planned(image_index=job.picture.index, explanation=event.explanation))
        turn.end_job(job.job, EndJob(job=job.job))
        return
    explanation = _led(turn.state, job, event.explanation)
    plan, picture = explanation.chosen.plan, job.picture
    led = not plan.begin_step or any(agent in picture.holders for agent in plan.agents)
    if led and all(_can_start(turn.state, job, explanation, index) for index in range(len(plan.agents))):
        start(turn, job.job, explanation)
        return
    # Somebody must hold the state from which the picture goes on; if the best plan needs none of them, they work alone.
    turn.put_job(replace(job, phase=Preparing(since_s=turn.now_s, holders_only=not led)))


def take_plan_failure(turn: Turn, event: PlanFailed) -> None:
    """There is no plan."""
    job = _planning(turn.state, event)
    if job is not None:
        turn.fail_job(job.job, event.error)
    else:
        take_answer(turn, event)


def advance(turn: Turn) -> None:
    """Does whatever can be done now, until nothing more can."""
    before = None
    while before is not turn.state:
        before = turn.state
        review_all(turn)
        _explain_at_once(turn)
        _start_next(turn)
        _tell_positions(turn)
        for job in tuple(turn.state.jobs.values()):
            if isinstance(job.phase, Preparing):
                _restart_without_holders(turn, job, job.phase)
                prepare(turn, job.job)
        for epoch in tuple(turn.state.epochs):
            consider(turn, epoch)
    _forget_ended(turn)
    _tell_readiness(turn)


def _planning(state: State, event: PlanComputed | PlanFailed) -> Job | None:
    """The job that waits for exactly this answer."""
    job = state.jobs.get(event.job)
    if job is None or not isinstance(job.phase, Planning) or job.phase.number != event.number:
        return None
    return job


def _led(state: State, job: Job, explanation: Explanation) -> Explanation:
    """A plan with somebody who holds the state to go on from: if it needs none of them, one joins without rows."""
    plan, phase, picture = explanation.chosen.plan, job.phase, job.picture
    assert isinstance(phase, Planning), f"{job.job} is {phase}"
    if not plan.begin_step or any(agent in picture.holders for agent in plan.agents):
        return explanation
    holders = [name for name in picture.holders if name in state.agents and name not in picture.lost]
    measured = [name for name in holders if key_of(state.agents[name], job) in state.profiles]
    if not measured:
        return explanation
    root = min(measured, key=lambda name: (name in state.drained, name))
    profiles = (*phase.task.request.profiles, profile_of(state, job, root))
    known = {profile.agent: profile for profile in profiles}
    request = plan_request(state, job, tuple(known[name] for name in sorted(known)), plan.begin_step)
    wide = widened_plan(plan, tuple(sorted((*plan.agents, root))), plan.decoder)
    chosen = replace(explanation.chosen, plan=wide, prediction=predicted(wide, request))
    return replace(explanation, chosen=chosen, profiles=request.profiles)


def _can_start(state: State, job: Job, explanation: Explanation, index: int) -> bool:
    name = explanation.chosen.plan.agents[index]
    agent = state.agents.get(name)
    return (
        agent is not None
        and agent.worker_ready
        and agent.epoch is None
        and agent.measuring is None
        and mismatch(agent, job) is None
        and name not in job.picture.lost
        and (name not in state.drained or _is_idle(explanation.chosen.plan, name))
    )


def _is_idle(plan: Plan, name: AgentId) -> bool:
    return not any(segment.of(name).rows.count for segment in plan.segments)


def _start_next(turn: Turn) -> None:
    """The first in the queue gets the fleet, once nobody has it."""
    state = turn.state
    if not state.queue or state.epochs:
        return
    job = state.jobs[state.queue[0]]
    if isinstance(job.phase, Waiting):
        turn.put_job(replace(job, started_s=turn.now_s, phase=Preparing(since_s=turn.now_s)))


def _explain_at_once(turn: Turn) -> None:
    """A question about a plan needs no fleet when everything is known already: it does not wait behind pictures."""
    for job in tuple(turn.state.jobs.values()):
        if not job.explain_only or not isinstance(job.phase, Waiting):
            continue
        phase = Preparing(since_s=turn.now_s)
        if isinstance(decide(turn.state, job, phase, turn.now_s), Go):
            turn.state = replace(turn.state, queue=tuple(name for name in turn.state.queue if name != job.job))
            turn.put_job(replace(job, started_s=turn.now_s, phase=phase))


def _restart_without_holders(turn: Turn, job: Job, phase: Preparing) -> None:
    """Nobody holds the boundary from which the picture was to go on: it begins again."""
    if job.picture.begin_step and not job.picture.holders:
        # Whoever is ready may take part again: there is no boundary left that only some hold.
        phase = replace(phase, holders_only=False)
        turn.put_job(replace(job, phase=phase, picture=replace(job.picture, begin_step=0)))


def _tell_positions(turn: Turn) -> None:
    """Tells each client in the queue its new place; 0 means that its job is running."""
    waiting_before = 0
    for name in turn.state.queue:
        job = turn.state.jobs[name]
        waits = isinstance(job.phase, Waiting)
        position = waiting_before + 1 if waits else 0
        waiting_before += waits
        if position != job.told_position:
            turn.put_job(replace(job, told_position=position))
            turn.tell(name, Queued(position=position))


def _forget_ended(turn: Turn) -> None:
    """Lets agents drop what they hold of jobs that have ended and that nobody works on any more."""
    busy = {epoch.job for epoch in turn.state.epochs.values()}
    ended = [job for job in turn.state.holders if job not in turn.state.jobs and job not in busy]
    for job in ended:
        for agent in sorted(turn.state.holders[job]):
            turn.send(agent, ForgetJob(job=job))
        turn.state = replace(turn.state, holders=without(turn.state.holders, job))


def _tell_readiness(turn: Turn) -> None:
    ready = any(agent.worker_ready for agent in turn.state.open_agents)
    if ready != turn.state.ready:
        turn.state = replace(turn.state, ready=ready)
        turn.emit(ReadinessChanged(ready=ready))
