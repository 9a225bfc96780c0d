"""If the coordinator itself stood still, nobody could be heard: that time counts against nobody. Pure.

Owns the list of all points in time in the state from which patience is counted, or at which it ends.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm_coordinator.scheduling.state.job import Applicant, Job, Picture, Preparing
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def allow_for_own_pause(tx: Transaction) -> None:
    """Shifts every beginning and every end of patience, if ticks stayed away.

    To be called before an event is taken in, whichever it is: what others said in the meantime may precede the tick.
    """
    state, limits = tx.state, tx.limits
    if state.last_tick_s is None:
        return
    pause_s = tx.now_s - state.last_tick_s - limits.tick_interval_s
    if pause_s < limits.heartbeat_timeout_s / 2:
        return
    agents = {
        name: replace(
            agent,
            last_heard_s=_shifted(agent.last_heard_s, tx, pause_s),
            measuring=agent.measuring
            and replace(agent.measuring, asked_s=_shifted(agent.measuring.asked_s, tx, pause_s)),
        )
        for name, agent in state.agents.items()
    }
    departed = {
        name: replace(departure, at_s=_shifted(departure.at_s, tx, pause_s))
        for name, departure in state.departed.items()
    }
    tx.state = replace(
        state,
        agents=agents,
        departed=departed,
        applicants={name: _patient_applicant(held, tx, pause_s) for name, held in state.applicants.items()},
        jobs={name: _patient_job(job, tx, pause_s) for name, job in state.jobs.items()},
        epochs={name: replace(epoch, deadline_s=epoch.deadline_s + pause_s) for name, epoch in state.epochs.items()},
        last_tick_s=state.last_tick_s + pause_s,
    )


def _patient_applicant(applicant: Applicant, tx: Transaction, pause_s: float) -> Applicant:
    question = applicant.question
    if question is not None:
        question = replace(question, deadline_s=question.deadline_s + pause_s)
    return replace(applicant, submitted_s=_shifted(applicant.submitted_s, tx, pause_s), question=question)


def _patient_job(job: Job, tx: Transaction, pause_s: float) -> Job:
    return replace(job, pictures={i: _patient_picture(held, tx, pause_s) for i, held in job.pictures.items()})


def _patient_picture(picture: Picture, tx: Transaction, pause_s: float) -> Picture:
    phase = picture.phase
    if picture.unplanned_since_s is not None:
        picture = replace(picture, unplanned_since_s=_shifted(picture.unplanned_since_s, tx, pause_s))
    if not isinstance(phase, Preparing):
        return picture
    since_s, held_until_s = _shifted(phase.since_s, tx, pause_s), phase.held_until_s + pause_s
    phase = replace(phase, since_s=since_s, held_until_s=held_until_s)
    return replace(picture, phase=phase)


def _shifted(begin_s: float, tx: Transaction, pause_s: float) -> float:
    """Nothing begins later than now."""
    return min(tx.now_s, begin_s + pause_s)
