"""What becomes of jobs from event to event: plans that come in, jobs that are cancelled, and whatever is possible next.

``advance`` looks at the whole state and does whatever can be done now. Every transition ends with it, so no handler has
to know what its event made possible.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.errors import NoAgentsError
from polyrhythm.ids import JobId
from polyrhythm.job.events import Planned
from polyrhythm.session.messages import ForgetJob
from polyrhythm_coordinator.scheduling.epochs.giving_up import give_up
from polyrhythm_coordinator.scheduling.epochs.start import start_or_prepare
from polyrhythm_coordinator.scheduling.fleet.decision import PlanNow, decide
from polyrhythm_coordinator.scheduling.fleet.measuring import stop_unwanted
from polyrhythm_coordinator.scheduling.queue.admission import refuse, review_all
from polyrhythm_coordinator.scheduling.queue.dispatch import take_comparison, with_choice
from polyrhythm_coordinator.scheduling.queue.order import leave_queue, line_up
from polyrhythm_coordinator.scheduling.queue.preparation import prepare, wait_for_others
from polyrhythm_coordinator.scheduling.replanning.causes import consider
from polyrhythm_coordinator.scheduling.replanning.weigh import take_answer
from polyrhythm_coordinator.scheduling.state.effects import EndJob, ReadinessChanged
from polyrhythm_coordinator.scheduling.state.events import JobCancelled, PlanComputed, PlanFailed
from polyrhythm_coordinator.scheduling.state.job import Picture, Planning, Preparing
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.transaction import Transaction, without


def cancel(tx: Transaction, event: JobCancelled) -> None:
    """Ends a job whose client wants no more of it. Its epochs are wound up before their devices begin anything else."""
    applicant = tx.state.applicants.get(event.job)
    if applicant is not None:
        refuse(tx, applicant, event.error)
    job = tx.state.jobs.get(event.job)
    if job is None:
        return
    give_up(tx, job.job, event.error)


def take_plan(tx: Transaction, event: PlanComputed) -> None:
    """Starts what was planned, unless the fleet has changed under it."""
    picture = _planned(tx.state, event)
    if picture is None:
        take_answer(tx, event)
        return
    phase = picture.phase
    assert isinstance(phase, Planning), f"{picture.job} is {phase}"
    if phase.compares:
        take_comparison(tx, picture, event.explanation)
        return
    explanation = with_choice(phase, event.explanation)
    if picture.explain_only:
        tx.tell(picture.job, Planned(image_index=picture.index, explanation=explanation))
        tx.end_job(picture.job, EndJob(job=picture.job))
        return
    start_or_prepare(tx, picture, explanation)


def take_plan_failure(tx: Transaction, event: PlanFailed) -> None:
    """There is no plan, with those who are free at least."""
    picture = _planned(tx.state, event)
    if picture is None:
        take_answer(tx, event)
    elif not isinstance(event.error, NoAgentsError) or not wait_for_others(tx, picture, event.error):
        give_up(tx, picture.job, event.error)


def advance(tx: Transaction) -> None:
    """Does whatever can be done now, until nothing more can."""
    before = None
    while before is not tx.state:
        before = tx.state
        review_all(tx)
        _explain_at_once(tx)
        line_up(tx)
        for picture in sorted(tx.state.pictures, key=lambda picture: not picture.has_begun):
            _go_on_preparing(tx, picture.job, picture.index)
        for epoch in tuple(tx.state.epochs):
            consider(tx, epoch)
    stop_unwanted(tx)
    _forget_ended(tx)
    _tell_readiness(tx)


def _planned(state: State, event: PlanComputed | PlanFailed) -> Picture | None:
    """The picture that waits for exactly this answer."""
    job = state.jobs.get(event.job)
    for picture in () if job is None else job.pictures.values():
        if isinstance(picture.phase, Planning) and picture.phase.number == event.number:
            return picture
    return None


def _explain_at_once(tx: Transaction) -> None:
    """A question about a plan needs no fleet when everything is known already: it does not wait behind pictures."""
    for job in tuple(tx.state.jobs.values()):
        if not job.explain_only or not job.waiting:
            continue
        phase = Preparing(since_s=tx.now_s)
        if isinstance(decide(tx.state, job.picture(0, phase), tx.now_s), PlanNow):
            tx.state = replace(tx.state, queue=tuple(name for name in tx.state.queue if name != job.job))
            leave_queue(tx, tx.state.jobs[job.job], 0, phase)


def _go_on_preparing(tx: Transaction, name: JobId, index: int) -> None:
    job = tx.state.jobs.get(name)  # another one of its pictures may just have failed
    picture = None if job is None else job.pictures[index]
    if picture is None or not isinstance(picture.phase, Preparing):
        return
    if picture.begin_step and not picture.holders:
        # Nobody holds the boundary from which the picture was to go on: it begins again. Whoever is ready may take part
        # again: there is no boundary left that only some hold.
        picture = replace(picture, phase=replace(picture.phase, holders_only=False), begin_step=0)
        tx.put_picture(picture)
    prepare(tx, picture)


def _forget_ended(tx: Transaction) -> None:
    """Lets agents drop what they hold of jobs that have ended and that nobody works on any more."""
    busy = {epoch.job for epoch in tx.state.epochs.values()}
    ended = [job for job in tx.state.holders if job not in tx.state.jobs and job not in busy]
    for job in ended:
        for agent in sorted(tx.state.holders[job]):
            tx.send(agent, ForgetJob(job=job))
        tx.state = replace(tx.state, holders=without(tx.state.holders, job))


def _tell_readiness(tx: Transaction) -> None:
    ready = any(agent.worker_ready for agent in tx.state.open_agents)
    if ready != tx.state.ready:
        tx.state = replace(tx.state, ready=ready)
        tx.emit(ReadinessChanged(ready=ready))
