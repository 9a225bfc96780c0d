"""A newer plan on its way into a running epoch: where it takes over, and whether it is followed or comes too late.

What the members follow is agreed among themselves; the core learns it from the version in their reports.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.ids import AgentId
from polyrhythm.job.events import ImageReplanned, ReplanReason
from polyrhythm.job.reports import BeatReport
from polyrhythm.plan.plan import Beat
from polyrhythm_coordinator.scheduling.epochs.plan_delivery import BEATS_AHEAD, send_version
from polyrhythm_coordinator.scheduling.planning.forecast import segment_forward_s
from polyrhythm_coordinator.scheduling.state.epoch import Epoch
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.replan import ReplanState, Takeover
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def takeover_step(epoch: Epoch, clock_s: float, lead_s: float) -> int | None:
    """The first boundary at which a plan may take over that is sent within a time; None if it is too late for one.

    Members may be further than they have reported: by the age of the report, by what has passed since, and by the time
    that the plan takes to be made and to reach the last of them, at the speeds that they have now. They agree on it one
    boundary before it takes over, and it must not be the last boundary, after which there is nothing left to plan.

    Args:
        epoch: that is running.
        clock_s: the present, by the clock.
        lead_s: from now until the last member holds the plan.
    """
    boundary, course = epoch.boundary, epoch.forecast
    unseen_s = (epoch.report_age_s + clock_s - epoch.reported_s + lead_s) / slowdown(epoch)
    later = [step for step, _ in course.course if step > boundary]
    index = BEATS_AHEAD + course.beats_within(boundary, unseen_s) - 1
    return later[index] if index < len(later) - 1 else None


def slowdown(epoch: Epoch) -> float:
    """How many times as long as planned the next beat takes, by what was last seen of its members' speeds."""
    replan = epoch.replan
    segment = next((s for s in epoch.plan.segments if epoch.boundary < s.end_step), epoch.plan.segments[-1])
    planned_s = {
        share.agent: segment_forward_s(share.agent, segment, replan.assumed) / share.stride
        for share in segment.assignments
    }
    present_s = (seconds * replan.watch(agent).ratio for agent, seconds in planned_s.items())
    return max(present_s) / max(planned_s.values())


def send_takeover(tx: Transaction, picture: Picture, epoch: Epoch, takeover: Takeover) -> None:
    """Sends a newer version to all members and waits for the first report of it."""
    # Until somebody reports a beat of it, memory may run out under either plan.
    needs_bytes = {agent: max(need, epoch.needs_bytes.get(agent, 0)) for agent, need in takeover.needs_bytes.items()}
    replan = replace(epoch.replan, search=None, takeover=takeover)
    tx.put_epoch(replace(epoch, replan=replan, needs_bytes=needs_bytes))
    tx.put_picture(replace(picture, last_version=takeover.plan.version))
    send_version(tx, epoch, takeover)


def follow(tx: Transaction, epoch: Epoch, report: BeatReport) -> Epoch:
    """What a report says about the version on its way."""
    takeover = epoch.replan.takeover
    if takeover is None:
        return epoch
    if report.plan_version == takeover.plan.version:
        return _taken_over(tx, epoch, takeover)
    if report.boundary_step > takeover.plan.begin_step:
        return replace(epoch, replan=epoch.replan.late(takeover.reason))  # not all held it in time
    return epoch


def watched(epoch: Epoch, beat: Beat, agent: AgentId, report: BeatReport) -> Epoch:
    """Takes a beat of the plan in force into account; beats of an earlier plan were held against that one."""
    if report.plan_version != epoch.plan.version:
        return epoch
    return replace(epoch, replan=epoch.replan.watched(agent, report.step_s, beat.segment))


def _taken_over(tx: Transaction, epoch: Epoch, takeover: Takeover) -> Epoch:
    plan = takeover.plan
    picture = tx.state.picture_of(epoch)
    if picture is not None:
        plans = (*picture.followed_until(plan.begin_step).plans, (plan, plan.begin_step))
        speed_plans = picture.speed_plans + (takeover.reason is ReplanReason.SPEED_CHANGED)
        tx.put_picture(replace(picture, plans=plans, speed_plans=speed_plans))
        tx.tell(
            epoch.job,
            ImageReplanned(image_index=picture.index, reason=takeover.reason, begin_step=plan.begin_step, plan=plan),
        )
    replan = epoch.replan
    return replace(
        epoch,
        plan=plan,
        forecast=takeover.forecast,
        needs_bytes=takeover.needs_bytes,
        versions={**epoch.versions, plan.version: plan},
        segments_sent=len(plan.segments),
        replan=ReplanState(
            assumed=takeover.assumed,
            watches=takeover.watches,
            weighed=replan.weighed,
            lead_s=replan.lead_s,
        ),
    )
