"""What becomes of jobs from event to event: plans that come in, jobs that are cancelled, and whatever is possible next.

``advance`` looks at the whole state and does whatever can be done now. Every transition ends with it, so no handler has
to know what its event made possible.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from polyrhythm.errors import NoAgentsError
from polyrhythm.ids import JobId
from polyrhythm.plan.explanation import Explanation
from polyrhythm.session.commands import ForgetJob
from polyrhythm_coordinator.scheduling.epochs.giving_up import give_up
from polyrhythm_coordinator.scheduling.epochs.start import start_or_prepare
from polyrhythm_coordinator.scheduling.fleet.measuring import stop_unwanted
from polyrhythm_coordinator.scheduling.queue.admission import refuse, review_all
from polyrhythm_coordinator.scheduling.queue.choice_messages import with_choice
from polyrhythm_coordinator.scheduling.queue.dispatch import take_comparison
from polyrhythm_coordinator.scheduling.queue.inquiries import (
    fail_inquiry,
    go_on_with_inquiries,
    take_plan_for_inquiry,
)
from polyrhythm_coordinator.scheduling.queue.order import line_up
from polyrhythm_coordinator.scheduling.queue.preparation import prepare, wait_for_others
from polyrhythm_coordinator.scheduling.replanning.causes import consider
from polyrhythm_coordinator.scheduling.replanning.weigh import take_answer
from polyrhythm_coordinator.scheduling.state.effects import ReadinessChanged
from polyrhythm_coordinator.scheduling.state.events import JobCancelled, PlanComputed, PlanFailed
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.phases import Comparing, Planning, Unplanned
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.transaction import Transaction, without


def cancel(tx: Transaction, event: JobCancelled) -> None:
    """Ends what a client wants no more of. Epochs of a job are wound up before their devices begin anything else."""
    if (applicant := tx.state.applicants.get(event.job)) is not None:
        refuse(tx, applicant, event.error)
    if (inquiry := tx.state.inquiries.get(event.job)) is not None:
        fail_inquiry(tx, inquiry, event.error)
    if event.job in tx.state.jobs:
        give_up(tx, event.job, event.error)


def take_plan(tx: Transaction, event: PlanComputed | PlanFailed) -> None:
    """Takes the planner's answer, whoever asked."""
    found = _asked(tx.state, event)
    if found is None:
        if not take_plan_for_inquiry(tx, event):
            take_answer(tx, event)
        return
    picture, asked = found
    match event:
        case PlanComputed(explanation=explanation):
            _follow(tx, picture, asked, explanation)
        case PlanFailed(error=error):
            if not isinstance(error, NoAgentsError) or not wait_for_others(tx, picture, error):
                give_up(tx, picture.job, error)
        case _:
            assert_never(event)


def advance(tx: Transaction) -> None:
    """Does whatever can be done now, until nothing more can."""
    before = None
    while before is not tx.state:
        before = tx.state
        review_all(tx)
        go_on_with_inquiries(tx)
        line_up(tx)
        for picture in sorted(tx.state.pictures, key=lambda picture: not picture.has_begun):
            _go_on_preparing(tx, picture.job, picture.index)
        for epoch in tuple(tx.state.epochs):
            consider(tx, epoch)
    stop_unwanted(tx)
    _forget_ended(tx)
    _tell_readiness(tx)


def _asked(state: State, event: PlanComputed | PlanFailed) -> tuple[Picture, Comparing | Planning] | None:
    """The picture that waits for exactly this answer."""
    job = state.jobs.get(event.job)
    for picture in () if job is None else job.pictures.values():
        if isinstance(picture.phase, Comparing | Planning) and picture.phase.number == event.number:
            return picture, picture.phase
    return None


def _follow(tx: Transaction, picture: Picture, asked: Comparing | Planning, explanation: Explanation) -> None:
    """Starts what was planned, unless the fleet has changed under it."""
    match asked:
        case Comparing():
            take_comparison(tx, picture, asked, explanation)
        case Planning(task=task, rival=rival, sharing=sharing):
            start_or_prepare(tx, picture, with_choice(explanation, rival, sharing), searched=task.request)
        case _:
            assert_never(asked)


def _go_on_preparing(tx: Transaction, name: JobId, index: int) -> None:
    job = tx.state.jobs.get(name)  # another one of its pictures may just have failed
    picture = None if job is None else job.pictures[index]
    if picture is None or not isinstance(picture.phase, Unplanned):
        return
    phase = picture.phase
    if picture.begin_step and not picture.holders:
        # Nobody holds the boundary from which the picture was to go on: it begins again. Whoever is ready may take part
        # again: there is no boundary left that only some hold.
        picture = replace(picture, holders_only=False, begin_step=0)
        tx.put_picture(picture)
    prepare(tx, picture, phase)


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
