"""A newer plan on its way into a running epoch: sent to all members, then seen to be followed, or seen to be too late.

What the members follow is agreed among themselves; the core learns it from the version in their reports.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.ids import AgentId
from polyrhythm.job.events import Replanned, ReplanReason
from polyrhythm.job.reports import BeatReport
from polyrhythm.plan.plan import Beat
from polyrhythm.session.messages import ExtendPlan
from polyrhythm_coordinator.scheduling.epochs.plan_delivery import step_timeout_s
from polyrhythm_coordinator.scheduling.state.epoch import Epoch
from polyrhythm_coordinator.scheduling.state.replan import Revision, Takeover
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def send_takeover(tx: Transaction, epoch: Epoch, takeover: Takeover) -> None:
    """Sends a newer version to all members, whole: none of them ever waits for a part of it."""
    plan = takeover.plan
    # Until somebody reports a beat of it, memory may run out under either plan.
    needs_bytes = {agent: max(need, epoch.needs_bytes.get(agent, 0)) for agent, need in takeover.needs_bytes.items()}
    revision = replace(epoch.revision, study=None, takeover=takeover)
    tx.put_epoch(replace(epoch, revision=revision, needs_bytes=needs_bytes))
    picture = tx.state.picture_of(epoch)
    assert picture is not None, f"{epoch.epoch} works for nobody"
    tx.put_picture(replace(picture, last_version=plan.version))
    command = ExtendPlan(
        epoch=epoch.epoch,
        plan_version=plan.version,
        segments=plan.segments,
        complete=True,
        step_timeout_s=step_timeout_s(tx.limits, takeover.forecast, previews=True),
        uninterruptible_s=takeover.forecast.uninterruptible_s,
    )
    for agent, run in epoch.members.items():
        if not run.gone:
            tx.send(agent, replace(command, memory_need_bytes=takeover.needs_bytes.get(agent, 0)))


def follow(tx: Transaction, epoch: Epoch, report: BeatReport) -> Epoch:
    """What a report says about the version on its way."""
    takeover = epoch.revision.takeover
    if takeover is None:
        return epoch
    if report.plan_version == takeover.plan.version:
        return _taken_over(tx, epoch, takeover)
    if report.boundary_step > takeover.plan.begin_step:
        return replace(
            epoch, revision=epoch.revision.late(takeover.reason)
        )  # not all held it in time: nobody follows it
    return epoch


def watched(epoch: Epoch, beat: Beat, agent: AgentId, report: BeatReport) -> Epoch:
    """Takes a beat of the plan in force into account; beats of an earlier plan were held against that one."""
    if report.plan_version != epoch.plan.version:
        return epoch
    return replace(epoch, revision=epoch.revision.watched(agent, report.step_s, beat.segment))


def _taken_over(tx: Transaction, epoch: Epoch, takeover: Takeover) -> Epoch:
    plan = takeover.plan
    picture = tx.state.picture_of(epoch)
    if picture is not None:
        (before, _), earlier = picture.plans[-1], picture.plans[:-1]
        plans = (*earlier, (before, plan.begin_step), (plan, plan.begin_step))
        speed_plans = picture.speed_plans + (takeover.reason is ReplanReason.SPEED_CHANGED)
        tx.put_picture(replace(picture, plans=plans, speed_plans=speed_plans))
        told = Replanned(image_index=picture.index, reason=takeover.reason, begin_step=plan.begin_step, plan=plan)
        tx.tell(epoch.job, told)
    revision = epoch.revision
    return replace(
        epoch,
        plan=plan,
        forecast=takeover.forecast,
        needs_bytes=takeover.needs_bytes,
        versions={**epoch.versions, plan.version: plan},
        segments_sent=len(plan.segments),
        revision=Revision(
            assumed=takeover.assumed,
            watches=takeover.watches,
            weighed=revision.weighed,
            lead_s=revision.lead_s,
        ),
    )
