"""Epochs that end before their time, and what comes after an epoch: the rest of the picture, the next one, or the end.

Owns the rule from which boundary a picture goes on, and how often it is tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from polyrhythm.errors import AgentsLostError, InternalError, PolyrhythmError
from polyrhythm.ids import AgentId, EpochId, JobId
from polyrhythm.job.events import AgentFailed, ImageCompleted, ReplanReason
from polyrhythm.session.messages import AbortEpoch, CancelEpoch, EpochEnded, EpochOutcome
from polyrhythm_coordinator.scheduling.epochs.giving_up import after_epoch
from polyrhythm_coordinator.scheduling.epochs.job_report import job_report
from polyrhythm_coordinator.scheduling.fleet.memory_ceilings import shrink
from polyrhythm_coordinator.scheduling.fleet.profiles import keep_speeds
from polyrhythm_coordinator.scheduling.state.effects import DisconnectAgent, EndJob
from polyrhythm_coordinator.scheduling.state.epoch import Epoch, EpochStage
from polyrhythm_coordinator.scheduling.state.job import Picture, Preparing, Running
from polyrhythm_coordinator.scheduling.state.transaction import Transaction, without


def give_up(tx: Transaction, name: JobId, error: PolyrhythmError) -> None:
    """Ends a job with an error; whatever still works on its pictures is asked to stop."""
    phases = [picture.phase for picture in tx.state.jobs[name].pictures.values()]
    tx.fail_job(name, error)
    for phase in phases:
        if isinstance(phase, Running) and phase.epoch in tx.state.epochs:
            cancel_epoch(tx, phase.epoch)


def cancel_epoch(tx: Transaction, name: EpochId) -> None:
    """Asks all members to stop at the next boundary; they are told to stop at once if none comes in time.

    After the last boundary there is none to stop at, and the decoding of the picture is let end.
    """
    epoch = tx.state.epochs[name]
    match epoch.stage:
        case EpochStage.FORMING | EpochStage.RUNNING:
            _stop_at_boundary(tx, epoch, EpochStage.CANCELLING)
        case EpochStage.HANDING_OVER:  # they were asked already
            tx.put_epoch(replace(epoch, stage=EpochStage.CANCELLING))
        case EpochStage.CANCELLING | EpochStage.ABORTING:
            pass
        case _:
            assert_never(epoch.stage)


def hand_over_epoch(tx: Transaction, name: EpochId, reason: ReplanReason, agents: Iterable[AgentId]) -> None:
    """Asks all members to stop at the next boundary, from which another gang goes on; the gang stays intact.

    After the last boundary nothing is left to hand over: the picture is made as planned.

    Args:
        tx: the transition.
        name: of the epoch.
        reason: why.
        agents: of the other gang; those that are not members begin nothing else until then.
    """
    epoch = tx.state.epochs[name]
    epoch = replace(epoch, handover=reason, joining=frozenset(agents).difference(epoch.members))
    _stop_at_boundary(tx, epoch, EpochStage.HANDING_OVER)


def _stop_at_boundary(tx: Transaction, epoch: Epoch, stage: EpochStage) -> None:
    deadline_s = tx.now_s + 2 * epoch.forecast.beat_s + tx.limits.cancel_timeout_s
    tx.put_epoch(replace(epoch, stage=stage, deadline_s=deadline_s))
    for agent, run in epoch.members.items():
        if not run.gone:
            tx.send(agent, CancelEpoch(epoch=epoch.epoch))


def abort_epoch(tx: Transaction, name: EpochId, cause: str) -> None:
    """Tells all members to stop at once and waits for their account of what they hold."""
    epoch = tx.state.epochs[name]
    if epoch.stage is EpochStage.ABORTING:
        return
    # A worker may first have to finish what it computes: no abort interrupts an encoding or a decoding.
    patience_s = tx.limits.abort_timeout_s + tx.limits.abort_slack * epoch.forecast.uninterruptible_s
    patience_s += tx.limits.alone_extra_s if epoch.forecast.alone else 0.0
    deadline_s = tx.now_s + patience_s
    tx.put_epoch(replace(epoch, stage=EpochStage.ABORTING, deadline_s=deadline_s, cause=cause))
    for agent, run in epoch.members.items():
        if not run.gone:
            tx.send(agent, AbortEpoch(epoch=name, reason=cause))


def take_end(tx: Transaction, agent: AgentId, event: EpochEnded) -> None:
    """A member has left an epoch."""
    epoch = tx.state.epochs.get(event.epoch)
    if epoch is None or agent not in epoch.members or epoch.members[agent].gone:
        return
    run = replace(epoch.members[agent], ended=event)
    tx.put_epoch(replace(epoch, members={**epoch.members, agent: run}))
    asking = {EpochStage.CANCELLING, EpochStage.HANDING_OVER}
    asked = event.outcome is EpochOutcome.CANCELLED and epoch.stage in asking
    if event.outcome is not EpochOutcome.FINISHED and not asked:
        abort_epoch(tx, epoch.epoch, f"{agent}: {event.detail or event.outcome}")
    _settle_if_over(tx, epoch.epoch)


def member_lost(tx: Transaction, agent: AgentId, reason: str) -> None:
    """An agent's worker is gone: whatever it worked on must go on without it."""
    for epoch in tuple(tx.state.epochs.values()):
        if agent not in epoch.members or epoch.members[agent].gone:
            continue
        run = replace(epoch.members[agent], lost=reason, died=agent in tx.state.agents)
        tx.put_epoch(replace(epoch, members={**epoch.members, agent: run}))
        picture = tx.state.picture_of(epoch)
        if picture is not None:
            tx.put_picture(replace(picture, lost={**picture.lost, agent: reason}))
            tx.tell(epoch.job, AgentFailed(agent=agent, reason=reason))
        abort_epoch(tx, epoch.epoch, f"{agent} is lost: {reason}")
        _settle_if_over(tx, epoch.epoch)


def overdue(tx: Transaction) -> tuple[DisconnectAgent, ...]:
    """Ends the patience with epochs whose deadline has passed.

    Returns:
        Agents that did not leave an aborted epoch in time; the caller loses them.
    """
    hung: list[DisconnectAgent] = []
    for epoch in tuple(tx.state.epochs.values()):
        if tx.now_s < epoch.deadline_s:
            continue
        match epoch.stage:
            case EpochStage.FORMING:
                abort_epoch(tx, epoch.epoch, "the gang was not formed in time")
            case EpochStage.RUNNING:
                abort_epoch(tx, epoch.epoch, f"no progress after step {epoch.step}")
            case EpochStage.CANCELLING | EpochStage.HANDING_OVER:
                if tx.now_s >= epoch.deadline_s + _decoding_s(tx, epoch):
                    abort_epoch(tx, epoch.epoch, "no boundary came in time to cancel at")
            case EpochStage.ABORTING:
                hung.extend(_hung(tx, epoch))
    return tuple(hung)


def resume_step(held: Iterable[frozenset[int]], steps: int) -> int:
    """From which boundary a picture goes on.

    The lowest of the survivors' newest boundaries, if all hold it; else the newest that all hold; else the start.
    Survivors that hold nothing have just joined and do not count: whoever leads the next epoch sends them the state.

    Args:
        held: boundaries that each survivor holds.
        steps: of the whole picture; from its last boundary there is nothing left to plan, so it does not count.
    """
    usable = [boundaries for boundaries in (frozenset(b for b in h if 0 < b < steps) for h in held) if boundaries]
    if not usable:
        return 0
    lowest_newest = min(max(boundaries) for boundaries in usable)
    common = frozenset[int].intersection(*usable)
    return lowest_newest if lowest_newest in common else max(common, default=0)


def _hung(tx: Transaction, epoch: Epoch) -> tuple[DisconnectAgent, ...]:
    error = AgentsLostError(f"did not leave epoch {epoch.epoch} in time")
    return tuple(
        DisconnectAgent(agent=agent, session=tx.state.agents[agent].session, error=error)
        for agent, run in epoch.members.items()
        if not run.gone
    )


def _decoding_s(tx: Transaction, epoch: Epoch) -> float:
    """How long a picture may be decoded, once its last boundary is behind a member; 0 before."""
    if all(run.boundary < epoch.plan.steps for run in epoch.members.values()):
        return 0.0
    return tx.limits.decode_timeout_s + tx.limits.slack * (epoch.forecast.loading_s + epoch.forecast.decode_s)


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
    picture = tx.state.picture_of(epoch)
    if picture is None:
        return
    if epoch.picture_made:
        _complete(tx, picture)
    else:
        _go_on(tx, picture, epoch)


def _complete(tx: Transaction, picture: Picture) -> None:
    """Hands over the report; the job ends with the last of its pictures."""
    job = tx.state.jobs[picture.job]
    made = _followed_until(picture, picture.image.steps)
    tx.tell(job.job, ImageCompleted(report=job_report(job, made)))
    job = replace(job, pictures=without(job.pictures, picture.index))
    tx.put_job(job)
    if not job.pictures and not job.waiting:
        tx.end_job(job.job, EndJob(job=job.job))


def _go_on(tx: Transaction, picture: Picture, epoch: Epoch) -> None:
    """Plans the rest of a picture on whoever is left, at the speeds that they have shown."""
    keep_speeds(tx, picture, epoch)
    picture, hopeless = after_epoch(picture, epoch, tx.limits)
    if hopeless is not None:
        _tell_failure(tx, picture.job, epoch, epoch.members)
        give_up(tx, picture.job, hopeless)
        return
    held = {
        agent: frozenset(run.ended.held_boundaries) & picture.reached.get(agent, frozenset())
        for agent, run in epoch.members.items()
        if run.ended is not None and agent not in picture.lost
    }
    begin_step = resume_step(held.values(), picture.image.steps)
    failures, reason = 0, ReplanReason.AGENT_LOST
    short = shrink(tx, picture, epoch)
    if epoch.stage is EpochStage.HANDING_OVER and epoch.handover is not None:
        reason = epoch.handover
    elif any(run.lost is not None for run in epoch.members.values()):
        pass
    elif short:
        # Not counted as a failure: every further plan gives these agents less, until it gives them nothing.
        reason = ReplanReason.OUT_OF_MEMORY
        _tell_failure(tx, picture.job, epoch, short)
    else:
        reason = ReplanReason.EPOCH_FAILED
        failures = 1 if begin_step > epoch.begin_step else picture.failures + 1
        _tell_failure(tx, picture.job, epoch, epoch.members)
    if failures >= tx.limits.failures_max:
        told = f"the picture failed {failures} times in a row at step {begin_step}: {epoch.cause}"
        give_up(tx, picture.job, InternalError(told))
        return
    picture = replace(
        _followed_until(picture, begin_step),
        begin_step=begin_step,
        reached=held,
        failures=failures,
        replan=reason,
        short_of_memory=picture.short_of_memory.union(short),
        phase=Preparing(since_s=tx.now_s),
    )
    tx.put_picture(picture)


def _tell_failure(tx: Transaction, job: JobId, epoch: Epoch, agents: Iterable[AgentId]) -> None:
    """Nobody is lost, and yet the epoch failed: its client sees that, and who said so, before it is tried again."""
    for agent in agents:
        run = epoch.members[agent]
        if run.ended is not None and run.ended.outcome is EpochOutcome.FAILED:
            tx.tell(job, AgentFailed(agent=agent, reason=run.ended.detail))


def _followed_until(picture: Picture, step: int) -> Picture:
    """Notes how far the last plan was followed."""
    (plan, _), before = picture.plans[-1], picture.plans[:-1]
    return replace(picture, plans=(*before, (plan, step)))
