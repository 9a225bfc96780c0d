"""Members leave an epoch. With the last of them it is over: its picture is made, or the rest of it is planned."""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.ids import AgentId, EpochId
from polyrhythm.job.events import AgentFailed, ImageCompleted
from polyrhythm.session.events import EpochEnded, EpochOutcome
from polyrhythm_coordinator.scheduling.epochs.job_report import job_report
from polyrhythm_coordinator.scheduling.epochs.resume import resume
from polyrhythm_coordinator.scheduling.epochs.stopping import abort_epoch
from polyrhythm_coordinator.scheduling.state.effects import DropBytes, EndJob
from polyrhythm_coordinator.scheduling.state.epoch import EpochStage
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.transaction import Transaction, without


def take_end(tx: Transaction, agent: AgentId, event: EpochEnded) -> None:
    """A member has left an epoch."""
    epoch = tx.state.epochs.get(event.epoch)
    if epoch is None or agent not in epoch.members or epoch.members[agent].gone:
        return
    tx.put_epoch(epoch.with_run(agent, replace(epoch.members[agent], ended=event)))
    asking = {EpochStage.CANCELLING, EpochStage.HANDING_OVER}
    asked = event.outcome is EpochOutcome.CANCELLED and epoch.stage in asking
    if event.outcome is not EpochOutcome.FINISHED and not asked:
        abort_epoch(tx, epoch.epoch, f"{agent}: {event.message or event.outcome}")
    _settle_if_over(tx, epoch.epoch)


def member_lost(tx: Transaction, agent: AgentId, reason: str) -> None:
    """An agent's worker is gone: whatever it worked on must go on without it."""
    for epoch in tuple(tx.state.epochs.values()):
        if agent not in epoch.members or epoch.members[agent].gone:
            continue
        run = replace(epoch.members[agent], lost=reason, died=agent in tx.state.agents)
        tx.put_epoch(epoch.with_run(agent, run))
        picture = tx.state.picture_of(epoch)
        if picture is not None:
            tx.put_picture(replace(picture, lost={**picture.lost, agent: reason}))
            tx.tell(epoch.job, AgentFailed(agent=agent, reason=reason))
        abort_epoch(tx, epoch.epoch, f"{agent} is lost: {reason}")
        _settle_if_over(tx, epoch.epoch)


def _settle_if_over(tx: Transaction, name: EpochId) -> None:
    """Once every member is gone from an epoch: frees them and goes on with the job."""
    epoch = tx.state.epochs.get(name)
    if epoch is None or not all(run.gone for run in epoch.members.values()):
        return
    tx.state = replace(tx.state, epochs=without(tx.state.epochs, name))
    for agent, run in epoch.members.items():
        held = tx.state.agents.get(agent)
        if run.lost is None and held is not None and held.epoch == name:
            tx.put_agent(replace(held, epoch=None))
    if not all(run.ended is not None and run.ended.gang_intact for run in epoch.members.values()):
        tx.drop_gang(epoch.plan.agents)
    if epoch.file is not None:
        tx.emit(DropBytes(blob=epoch.file.blob))
    picture = tx.state.picture_of(epoch)
    if picture is None:
        return
    if epoch.picture_made:
        _complete(tx, picture)
    else:
        resume(tx, picture, epoch)


def _complete(tx: Transaction, picture: Picture) -> None:
    """Hands over the report; the job ends with the last of its pictures."""
    job = tx.state.jobs[picture.job]
    tx.tell(job.job, ImageCompleted(report=job_report(job, picture.followed_until(picture.image.steps))))
    job = replace(job, pictures=without(job.pictures, picture.index))
    tx.put_job(job)
    if not job.pictures and not job.waiting:
        tx.end_job(job.job, EndJob(job=job.job))
