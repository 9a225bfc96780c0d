"""What comes after an epoch that made no picture: from which boundary it goes on, and how often it is tried."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from polyrhythm.errors import InternalError
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import AgentFailed, ReplanReason
from polyrhythm.session.events import EpochOutcome
from polyrhythm_coordinator.scheduling.epochs.giving_up import after_epoch, give_up
from polyrhythm_coordinator.scheduling.fleet.memory_ceilings import shrink
from polyrhythm_coordinator.scheduling.fleet.profiles import keep_speeds
from polyrhythm_coordinator.scheduling.state.epoch import Epoch, EpochStage
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.phases import Preparing
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def resume(tx: Transaction, picture: Picture, epoch: Epoch) -> None:
    """Plans the rest of a picture on whoever is left, at the speeds that they have shown."""
    keep_speeds(tx, picture, epoch)
    picture, hopeless = after_epoch(picture, epoch, tx.limits)
    if hopeless is not None:
        _tell_failures(tx, picture.job, epoch, epoch.members)
        give_up(tx, picture.job, hopeless)
        return
    held = {
        agent: frozenset(run.ended.held_boundaries) & picture.reached.get(agent, frozenset())
        for agent, run in epoch.members.items()
        if run.ended is not None and agent not in picture.lost
    }
    begin_step = resume_step(held.values(), picture.image.steps)
    short = shrink(tx, picture, epoch)
    reason, failures = _reason(epoch, short), 0
    if reason is ReplanReason.OUT_OF_MEMORY:
        # Not counted as a failure: every further plan gives these agents less, until it gives them nothing.
        _tell_failures(tx, picture.job, epoch, short)
    elif reason is ReplanReason.EPOCH_FAILED:
        failures = 1 if begin_step > epoch.begin_step else picture.failures + 1
        _tell_failures(tx, picture.job, epoch, epoch.members)
    if failures >= tx.limits.failures_max:
        message = f"the picture failed {failures} times in a row at step {begin_step}: {epoch.cause}"
        give_up(tx, picture.job, InternalError(message))
        return
    tx.put_picture(
        replace(
            picture.followed_until(begin_step),
            begin_step=begin_step,
            reached=held,
            failures=failures,
            replan=reason,
            short_of_memory=picture.short_of_memory.union(short),
            phase=Preparing(since_s=tx.now_s),
        )
    )


def _reason(epoch: Epoch, short: tuple[AgentId, ...]) -> ReplanReason:
    """Why the rest of the picture needs another plan."""
    if epoch.stage is EpochStage.HANDING_OVER and epoch.handover is not None:
        return epoch.handover
    if any(run.lost is not None for run in epoch.members.values()):
        return ReplanReason.AGENT_LOST
    return ReplanReason.OUT_OF_MEMORY if short else ReplanReason.EPOCH_FAILED


def resume_step(held: Iterable[frozenset[int]], steps: int) -> int:
    """From which boundary a picture goes on.

    The lowest of the survivors' newest boundaries, if all hold it; else the newest that all hold; else the start.
    Survivors that hold nothing have just joined and do not count: the root of the next epoch sends them the state.

    Args:
        held: boundaries that each survivor holds.
        steps: of the whole picture; its last boundary does not count, since nothing is left to plan from there.
    """
    usable = [boundaries for boundaries in (frozenset(b for b in h if 0 < b < steps) for h in held) if boundaries]
    if not usable:
        return 0
    lowest_newest = min(max(boundaries) for boundaries in usable)
    common = frozenset[int].intersection(*usable)
    return lowest_newest if lowest_newest in common else max(common, default=0)


def _tell_failures(tx: Transaction, job: JobId, epoch: Epoch, agents: Iterable[AgentId]) -> None:
    """Tells the client which members failed although none is lost, before it is tried again."""
    for agent in agents:
        run = epoch.members[agent]
        if run.ended is not None and run.ended.outcome is EpochOutcome.FAILED:
            tx.tell(job, AgentFailed(agent=agent, reason=run.ended.message))
