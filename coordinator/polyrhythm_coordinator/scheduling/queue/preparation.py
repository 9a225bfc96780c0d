"""From the turn of a picture to its plan: measurements are asked for, then the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from polyrhythm.errors import NoAgentsError
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import Delayed
from polyrhythm.plan.profile import Workload
from polyrhythm_coordinator.scheduling.epochs.giving_up import counted, give_up
from polyrhythm_coordinator.scheduling.fleet.agent_kinds import AgentKinds, agent_kinds
from polyrhythm_coordinator.scheduling.fleet.decision import GiveUp, KeepWaiting, Measure, PlanNow
from polyrhythm_coordinator.scheduling.fleet.eligibility import DRAINED, Bar
from polyrhythm_coordinator.scheduling.fleet.measuring import ask_to_measure, due, may_take_part, measuring_message
from polyrhythm_coordinator.scheduling.fleet.planner_inputs import profiles_of
from polyrhythm_coordinator.scheduling.fleet.second_chance import decided, with_second_chances
from polyrhythm_coordinator.scheduling.fleet.situation import situation
from polyrhythm_coordinator.scheduling.planning.measured_profiles import workload_of
from polyrhythm_coordinator.scheduling.queue.dispatch import compare, hold
from polyrhythm_coordinator.scheduling.queue.plan_tasks import ask_plan
from polyrhythm_coordinator.scheduling.queue.waiting import single_s
from polyrhythm_coordinator.scheduling.state.job import Picture, Planning, Preparing, Running
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def prepare(tx: Transaction, picture: Picture) -> None:
    """Goes on with a picture in phase Preparing, as far as it goes now."""
    assert isinstance(picture.phase, Preparing), f"{picture.job} is {picture.phase}"
    held_in = picture.phase.held_in
    if held_in is not None and held_in == situation(tx.state) and tx.now_s < picture.phase.held_until_s:
        return
    before, phase = picture, picture.phase
    picture, decision = decided(tx.state, before, tx.now_s)
    if picture is not before:
        tx.put_picture(picture)
    match decision:
        case GiveUp(error=error):
            give_up(tx, picture.job, error)
        case KeepWaiting():
            _wait(tx, picture, phase, decision)
        case Measure(measurements=measurements):
            ask_to_measure(tx, workload_of(picture.image), measurements)
            _tell_measuring(tx, picture)
        case PlanNow():
            _plan(tx, picture, decision)
        case _:
            assert_never(decision)


def give_up_measuring(tx: Transaction, name: AgentId, request_id: int, detail: str) -> None:
    """An agent could not measure a size: it takes no part in the jobs that asked for it.

    One that was to stop has.
    """
    agent = tx.state.agents[name]
    measuring = agent.measuring
    if measuring is None or measuring.number != request_id:
        return
    tx.put_agent(replace(agent, measuring=None))
    if measuring.stopped:
        return
    for job in _asking(tx, name, measuring.workload):
        _leave_out(tx, job, name, f"it could not measure: {detail}")


def died_measuring(tx: Transaction, name: AgentId, reason: str) -> None:
    """A worker ended while it measured, as the next one may.

    The agent is left out of the jobs that asked for it, where others can make their pictures; where nobody else can, it
    is asked again. It counts against the pictures that are being prepared: a second death is the last.
    """
    measuring = tx.state.agents[name].measuring
    if measuring is None:
        return
    for job in _asking(tx, name, measuring.workload):
        pictures = [tx.state.jobs[job].pictures[index] for index in tx.state.jobs[job].pictures]
        if any(_others(tx, picture, name) for picture in pictures):
            _leave_out(tx, job, name, f"its worker ended while it measured: {reason}")
        for picture in pictures:
            if job not in tx.state.jobs:  # given up for another of its pictures just now
                break
            if isinstance(picture.phase, Preparing):
                _count_death(tx, picture, f"{name} ({reason})")


def gone_measuring(tx: Transaction, name: AgentId, workload: Workload, reason: str) -> None:
    """An agent was lost while it measured: it may come back and be asked again, but not for ever."""
    for job in _asking(tx, name, workload):
        held = tx.state.jobs[job]
        if name in held.gone_measuring:
            _leave_out(tx, job, name, f"it was lost twice while it measured: {reason}")
        else:
            tx.put_job(replace(held, gone_measuring=held.gone_measuring | {name}))


def _count_death(tx: Transaction, picture: Picture, died: str) -> None:
    remembering, hopeless = counted(picture, died, tx.limits)
    if hopeless is None:
        tx.put_picture(remembering)
    else:
        give_up(tx, picture.job, hopeless)


def _asking(tx: Transaction, name: AgentId, workload: Workload) -> list[JobId]:
    """Jobs with pictures that wait for what an agent measures."""
    return [
        job.job
        for job in tx.state.jobs.values()
        if may_take_part(job, name, workload)
        and any(isinstance(picture.phase, Preparing) or name in picture.asked for picture in job.pictures.values())
    ]


def _others(tx: Transaction, picture: Picture, name: AgentId) -> bool:
    """Whether a picture is being made by others, or may be."""
    if isinstance(picture.phase, Running):
        return True
    return any(other != name for other in agent_kinds(tx.state, picture, tx.now_s).candidates)


def _leave_out(tx: Transaction, job: JobId, name: AgentId, detail: str) -> None:
    held = tx.state.jobs[job]
    tx.put_job(replace(held, left_out={**held.left_out, name: detail}))


def _tell_measuring(tx: Transaction, picture: Picture) -> None:
    """Says what is measured, and how much of it is done, whenever something begins to be."""
    assert isinstance(picture.phase, Preparing), f"{picture.job} is {picture.phase}"
    candidates = agent_kinds(tx.state, picture, tx.now_s).candidates
    message = measuring_message(tx.state, picture, candidates, tx.now_s)
    tx.tell(picture.job, message, image_index=picture.index)


def _wait(tx: Transaction, picture: Picture, phase: Preparing, waiting: KeepWaiting) -> None:
    """Patience with workers that are loading begins when nothing else is waited for."""
    since_s = phase.since_s if waiting.for_loading else tx.now_s
    if (since_s, waiting.for_drained) != (phase.since_s, phase.shelved):
        picture = replace(picture, phase=replace(phase, since_s=since_s, shelved=waiting.for_drained))
        tx.put_picture(picture)
    if waiting.for_measuring:
        _tell_measuring(tx, picture)
    if waiting.reason:
        _tell_delay(tx, picture, waiting.reason)


def wait_for_others(tx: Transaction, picture: Picture, error: NoAgentsError) -> bool:
    """There is no plan with those who are free: waits for others, as long as they may come.

    Then for those that were lost on the picture, and in the end for those that are drained.

    Returns:
        Whether there is somebody to wait for.
    """
    assert isinstance(picture.phase, Planning), f"{picture.job} is {picture.phase}"
    if picture.unplanned_since_s is None:
        picture = replace(picture, unplanned_since_s=tx.now_s)
    again = with_second_chances(picture)
    return (
        _wait_for_coming(tx, picture, error)
        or (again is not None and _wait_for_lost(tx, again, error))
        or _wait_for_drained(tx, picture, error)
    )


def _wait_for_coming(tx: Transaction, picture: Picture, error: NoAgentsError) -> bool:
    """Those that are measured, busy, loading, or back in a moment."""
    kinds = agent_kinds(tx.state, picture, tx.now_s)
    assert picture.unplanned_since_s is not None, picture.job
    patient_until_s = picture.unplanned_since_s + tx.limits.loading_grace_s
    if kinds.of(Bar.UNMEASURED, Bar.MEASURING) and picture.fixed_plan is None:
        _wait_for_measurements(tx, picture, kinds)
    elif kinds.of(Bar.BUSY, Bar.OCCUPIED) and picture.fixed_plan is None:
        hold(tx, picture)
    elif kinds.coming and tx.now_s < patient_until_s:
        # Who has left is expected back for a shorter time than who loads, and nothing happens when that is over.
        returns_s = (tx.state.departed[name].at_s + tx.limits.return_grace_s for name in kinds.of(Bar.ABSENT))
        hold(tx, picture, until_s=min((patient_until_s, *returns_s)))
        _tell_delay(tx, picture, f"{error}; {kinds.coming_message}")
    else:
        return False
    return True


def _wait_for_lost(tx: Transaction, again: Picture, error: NoAgentsError) -> bool:
    """Those that were lost on the picture; whoever of them is ready is planned with at once."""
    phase = Preparing(since_s=tx.now_s)
    if any(name in again.readmitted for name in agent_kinds(tx.state, again, tx.now_s).ready):
        tx.put_picture(replace(again, phase=phase))
        return True
    return _wait_for_coming(tx, again, error)


def _wait_for_drained(tx: Transaction, picture: Picture, error: NoAgentsError) -> bool:
    """Those that somebody has to put back."""
    drained = agent_kinds(tx.state, picture, tx.now_s).of(Bar.DRAINED)
    if not drained or picture.explain_only:
        return False
    hold(tx, picture, shelved=True)
    _tell_delay(tx, picture, f"{error}; {', '.join(drained)}: {DRAINED}")
    return True


def _wait_for_measurements(tx: Transaction, picture: Picture, kinds: AgentKinds) -> None:
    """Newcomers of unknown speed are measured; the picture is looked at again once one of them has, or is late."""
    unmeasured = kinds.of(Bar.UNMEASURED)
    asked = due(tx.state, picture, unmeasured, (*kinds.ready, *unmeasured), tx.now_s)
    ask_to_measure(tx, workload_of(picture.image), asked)
    picture = replace(picture, asked=picture.asked.union(measurement.agent for measurement in asked))
    measuring = (tx.state.agents[name].measuring for name in (*unmeasured, *kinds.of(Bar.MEASURING)))
    asked_s = [held.asked_s for held in measuring if held is not None]
    hold(tx, picture, until_s=min(asked_s, default=tx.now_s) + tx.limits.profile_timeout_s)
    _tell_measuring(tx, tx.state.jobs[picture.job].pictures[picture.index])


def _tell_delay(tx: Transaction, picture: Picture, reason: str) -> None:
    tx.tell(picture.job, Delayed(reason=reason), image_index=picture.index)


def _plan(tx: Transaction, picture: Picture, go: PlanNow) -> None:
    """Asks for a plan at once where nothing is to be chosen: it is given, or the picture has begun."""
    if go.fixed_plan is None and not picture.has_begun:
        compare(tx, picture, go)
        return
    profiles = profiles_of(tx.state, picture, go.agents)
    expected_s = min(single_s(picture, profile, alone=profile.is_alone_among(())) for profile in profiles)
    agents = go.agents if go.fixed_plan is None else tuple(a for a in go.agents if a in go.fixed_plan.agents)
    ask_plan(tx, picture, agents, go.exclusions, fixed_plan=go.fixed_plan, expected_s=expected_s)
