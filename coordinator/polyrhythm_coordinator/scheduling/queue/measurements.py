"""What becomes of those for whom an agent measures when it cannot: it is left out, or asked again, but not for ever."""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.ids import AgentId, JobId
from polyrhythm.plan.profile import Workload
from polyrhythm_coordinator.scheduling.epochs.giving_up import counted, give_up, hopeless
from polyrhythm_coordinator.scheduling.fleet.agent_kinds import agent_kinds
from polyrhythm_coordinator.scheduling.fleet.measuring import may_take_part
from polyrhythm_coordinator.scheduling.queue.inquiries import fail_inquiry
from polyrhythm_coordinator.scheduling.state.inquiry import Inquiry
from polyrhythm_coordinator.scheduling.state.job import Job, Picture
from polyrhythm_coordinator.scheduling.state.phases import Running, Unplanned
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def give_up_measuring(tx: Transaction, name: AgentId, request_id: int, message: str) -> None:
    """An agent could not measure a size: it is left out by all that asked for it.

    One that was to stop has.
    """
    agent = tx.state.agents[name]
    measuring = agent.measuring
    if measuring is None or measuring.number != request_id:
        return
    tx.put_agent(replace(agent, measuring=None))
    if measuring.stopped:
        return
    for asking in _asking(tx, name, measuring.workload):
        _leave_out(tx, asking, name, f"it could not measure: {message}")


def died_measuring(tx: Transaction, name: AgentId, reason: str) -> None:
    """A worker ended while it measured, as the next one may.

    The agent is left out where others can make the pictures; where nobody else can, it is asked again. It counts
    against what is being prepared: a second death is the last.
    """
    measuring = tx.state.agents[name].measuring
    if measuring is None:
        return
    for asking in _asking(tx, name, measuring.workload):
        pictures = (asking.picture(0),) if isinstance(asking, Inquiry) else tuple(asking.pictures.values())
        if any(_others(tx, picture, name) for picture in pictures):
            _leave_out(tx, asking, name, f"its worker ended while it measured: {reason}")
        if isinstance(asking, Inquiry):
            _count_for_inquiry(tx, asking.job, f"{name} ({reason})")
        else:
            _count_for_pictures(tx, pictures, f"{name} ({reason})")


def gone_measuring(tx: Transaction, name: AgentId, workload: Workload, reason: str) -> None:
    """An agent was lost while it measured: it may come back and be asked again, but not for ever."""
    for asking in _asking(tx, name, workload):
        if name in asking.gone_measuring:
            _leave_out(tx, asking, name, f"it was lost twice while it measured: {reason}")
        else:
            tx.put_wanted(replace(asking, gone_measuring=asking.gone_measuring | {name}))


def _count_for_inquiry(tx: Transaction, job: JobId, died: str) -> None:
    inquiry = tx.state.inquiries[job]
    inquiry = replace(inquiry, deaths=(*inquiry.deaths, died))
    tx.put_inquiry(inquiry)
    if (error := hopeless(inquiry.deaths, tx.limits)) is not None:
        fail_inquiry(tx, inquiry, error)


def _count_for_pictures(tx: Transaction, pictures: tuple[Picture, ...], died: str) -> None:
    for picture in pictures:
        if picture.job not in tx.state.jobs:  # given up for another of its pictures just now
            break
        if not isinstance(picture.phase, Unplanned):
            continue
        remembering, error = counted(picture, died, tx.limits)
        if error is None:
            tx.put_picture(remembering)
        else:
            give_up(tx, picture.job, error)


def _asking(tx: Transaction, name: AgentId, workload: Workload) -> list[Job | Inquiry]:
    """Jobs with pictures that wait for what an agent measures, and questions that do."""
    jobs = (
        job
        for job in tx.state.jobs.values()
        if any(isinstance(picture.phase, Unplanned) or name in picture.asked for picture in job.pictures.values())
    )
    inquiries = (inquiry for inquiry in tx.state.inquiries.values() if inquiry.asked is None)
    return [asking for asking in (*jobs, *inquiries) if may_take_part(asking, name, workload)]


def _others(tx: Transaction, picture: Picture, name: AgentId) -> bool:
    """Whether a picture is being made by others, or may be."""
    if isinstance(picture.phase, Running):
        return True
    return any(other != name for other in agent_kinds(tx.state, picture, tx.now_s).candidates)


def _leave_out(tx: Transaction, asking: Job | Inquiry, name: AgentId, message: str) -> None:
    tx.put_wanted(replace(asking, left_out={**asking.left_out, name: message}))
