"""Epochs from the outside: how one starts, which segments its members must hold, when silence is a hang.

What members report is taken in by ``progress``; how an epoch is ended before its time is in ``recovery``.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.ids import AgentId, GangId
from polyrhythm.job.events import Planned, Progressed, Replanned
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.plan import Plan
from polyrhythm.session.messages import StartEpoch
from polyrhythm_coordinator.scheduling.planning.dtypes import exchanged_as
from polyrhythm_coordinator.scheduling.planning.forecast import Forecast, forecast, segment_forward_s
from polyrhythm_coordinator.scheduling.planning.speed_change import SpeedWatch, times_evidence
from polyrhythm_coordinator.scheduling.state.epoch import Epoch, EpochStage, MemberRun
from polyrhythm_coordinator.scheduling.state.job import Picture, Planning, Running, Usage
from polyrhythm_coordinator.scheduling.state.rendezvous_store import RendezvousStore
from polyrhythm_coordinator.scheduling.state.replan import Revision
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.scheduling.state.transaction import Transaction

BEATS_AHEAD = 2
"""Beats beyond the present one that all members know: the next one decides what they send, one is on its way."""


def beats_ahead(limits: Limits, course: Forecast, boundary: int) -> int:
    """Beats beyond the last reported one that all members must know: reports may be a heartbeat's interval old."""
    return BEATS_AHEAD + course.beats_within(boundary, limits.heartbeat_interval_s)


def start(tx: Transaction, picture: Picture, explanation: Explanation) -> None:
    """Starts a planned picture, or the rest of it, on its gang."""
    assert isinstance(picture.phase, Planning), f"{picture.job} is {picture.phase}"
    plan, prediction = explanation.chosen.plan, explanation.chosen.prediction
    assumed = {profile.agent: profile for profile in explanation.profiles}
    course = forecast(plan, prediction, assumed)
    epoch = Epoch(
        epoch=tx.new_epoch_name(),
        gang=_gang(tx, plan.agents),
        job=picture.job,
        image_index=picture.index,
        plan=plan,
        forecast=course,
        begin_step=plan.begin_step,
        versions={plan.version: plan},
        revision=Revision(
            assumed={agent: assumed[agent] for agent in plan.agents},
            weighed=frozenset((*picture.phase.task.request.agents, *plan.agents)),
            watches=dict.fromkeys(plan.agents, SpeedWatch(times=times_evidence(picture.speed_plans))),
            lead_s=tx.limits.replan_lead_s,
        ),
        reported_s=tx.clock_s,
        segments_sent=segments_due(plan, plan.begin_step, beats_ahead(tx.limits, course, plan.begin_step)),
        members={agent: MemberRun(step=plan.begin_step, boundary=plan.begin_step) for agent in plan.agents},
        stage=EpochStage.FORMING,
        deadline_s=tx.now_s + tx.limits.forming_timeout_s + tx.limits.slack * (course.loading_s + course.encode_s),
        needs_bytes={share.agent: share.memory_bytes for share in prediction.agents},
    )
    for agent in plan.agents:
        tx.put_agent(replace(tx.state.agents[agent], epoch=epoch.epoch))
    tx.put_epoch(epoch)
    held = tx.state.holders.get(picture.job, frozenset[AgentId]())
    tx.state = replace(tx.state, holders={**tx.state.holders, picture.job: held.union(plan.agents)})
    _overwrite(tx, picture, plan.agents)
    tx.put_picture(replace(_with_plan(tx, picture, plan, prediction.denoise_s), phase=Running(epoch=epoch.epoch)))
    if picture.replan is None:
        tx.tell(picture.job, Planned(image_index=picture.index, explanation=explanation))
    else:
        replanned = Replanned(image_index=picture.index, reason=picture.replan, begin_step=plan.begin_step, plan=plan)
        tx.tell(picture.job, replanned)
    command = _start_command(tx, epoch, picture)
    for agent in plan.agents:
        tx.send(agent, replace(command, memory_need_bytes=epoch.needs_bytes.get(agent, 0)))
    tell_progress(tx, epoch)


def takeover_step(epoch: Epoch, now_s: float, lead_s: float) -> int | None:
    """The first boundary at which a plan may take over that is sent within a time; None if it is too late for one.

    Members may be further than they have reported: by the age of the report, by what has passed since, and by the time
    that the plan takes to be made and to reach the last of them, at the speeds that they have now. They agree on it one
    boundary before it takes over, and it must not be the last boundary, after which there is nothing left to plan.

    Args:
        epoch: that is running.
        now_s: the present.
        lead_s: from now until the last member holds the plan.
    """
    boundary, course = epoch.boundary, epoch.forecast
    unseen_s = (epoch.report_age_s + now_s - epoch.reported_s + lead_s) / slowdown(epoch)
    later = [step for step, _ in course.course if step > boundary]
    index = BEATS_AHEAD + course.beats_within(boundary, unseen_s) - 1
    return later[index] if index < len(later) - 1 else None


def slowdown(epoch: Epoch) -> float:
    """How many times as long as planned the next beat takes, by what was last seen of its members' speeds."""
    revision = epoch.revision
    segment = next((s for s in epoch.plan.segments if epoch.boundary < s.end_step), epoch.plan.segments[-1])
    planned_s = {
        share.agent: segment_forward_s(share.agent, segment, revision.assumed) / share.stride
        for share in segment.assignments
    }
    present_s = (seconds * revision.watch(agent).ratio for agent, seconds in planned_s.items())
    return max(present_s) / max(planned_s.values())


def segments_due(plan: Plan, boundary: int, beats_ahead: int) -> int:
    """How many of a plan's segments all members must hold once one of them has completed a boundary.

    The whole segment after the present one is always among them, and at least ``beats_ahead`` beats.
    """
    beats = tuple(plan.beats())
    present = next((index for index, beat in enumerate(beats) if beat.begin_step >= boundary), len(beats) - 1)
    ahead = beats[min(present + beats_ahead, len(beats) - 1)]
    begins = [segment.begin_step for segment in plan.segments]
    after_present = begins.index(beats[present].segment.begin_step) + 1
    return min(max(after_present, begins.index(ahead.segment.begin_step)) + 1, len(begins))


def step_timeout_s(limits: Limits, course: Forecast, *, previews: bool) -> float:
    """When silence of a member is a hang: ``slack`` times the longest silence that is predicted, and a constant.

    The constant covers what does not scale with the model: scheduling of processes, a first touch of memory. Of an
    epoch of one member it is larger.
    """
    longest_s = course.step_s + (course.decode_s if previews else 0.0)
    return limits.slack * longest_s + limits.step_timeout_s + (limits.alone_extra_s if course.alone else 0.0)


def tell_progress(tx: Transaction, epoch: Epoch) -> None:
    """Tells new progress of the slowest member, seldom enough not to matter; begin and end are always told."""
    picture = tx.state.picture_of(epoch)
    if picture is None or epoch.stage is EpochStage.ABORTING:
        return
    step = epoch.step
    begins = picture.told_s is None
    if not begins and step <= picture.told_step:
        return
    soon = picture.told_s is not None and tx.now_s < picture.told_s + tx.limits.progress_interval_s
    if soon and step < epoch.plan.steps:
        return
    tx.put_picture(replace(picture, told_step=step, told_s=tx.now_s))
    progressed = Progressed(
        image_index=picture.index,
        step=step,
        steps=epoch.plan.steps,
        left_s=epoch.forecast.left_s(step) + (epoch.forecast.encode_s if begins else 0.0),
        agents=epoch.plan.agents,
    )
    tx.tell(epoch.job, progressed)


def _gang(tx: Transaction, members: tuple[AgentId, ...]) -> GangId:
    """The members' intact process group, or the name of a new one."""
    held = tx.state.gangs.get(members)
    if held is not None:
        return held
    gang = tx.new_gang_name()
    tx.state = replace(
        tx.state,
        gangs={**tx.state.gangs, members: gang},
        stores={**tx.state.stores, gang: RendezvousStore(members=members)},
    )
    return gang


def _overwrite(tx: Transaction, picture: Picture, agents: tuple[AgentId, ...]) -> None:
    """A worker holds boundaries of one picture of a job: those of another one are gone once it begins with this one."""
    for other in tx.state.jobs[picture.job].pictures.values():
        if other.index != picture.index and any(agent in other.reached for agent in agents):
            reached = {agent: steps for agent, steps in other.reached.items() if agent not in agents}
            tx.put_picture(replace(other, reached=reached))


def _start_command(tx: Transaction, epoch: Epoch, picture: Picture) -> StartEpoch:
    plan = epoch.plan
    own_facts = [tx.state.agents[agent].own_facts(picture.facts) or picture.facts for agent in plan.agents]
    holders = [agent for agent in (plan.encoder, *plan.agents) if agent in picture.holders]
    return StartEpoch(
        epoch=epoch.epoch,
        gang=epoch.gang,
        members=plan.agents,
        job=picture.job,
        image=picture.image,
        begin_step=plan.begin_step,
        root=holders[0] if plan.begin_step else plan.encoder,
        decoder=plan.decoder,
        plan_version=plan.version,
        segments=plan.segments[: epoch.segments_sent],
        complete=epoch.segments_sent == len(plan.segments),
        step_timeout_s=step_timeout_s(tx.limits, epoch.forecast, previews=picture.image.preview_every_steps > 0),
        uninterruptible_s=epoch.forecast.uninterruptible_s,
        exchange_dtype=exchanged_as(own_facts).dtype,
    )


def _with_plan(tx: Transaction, picture: Picture, plan: Plan, predicted_denoise_s: float) -> Picture:
    members = [tx.state.agents[name] for name in plan.agents]
    usage = {
        agent.agent: Usage(device=agent.device.name, emulated=agent.device.emulated_speed is not None)
        for agent in members
    }
    model = picture.facts.model
    held = {agent.agent: agent.own_facts(picture.facts) or picture.facts for agent in members}
    versions = {
        agent.agent: (
            *agent.software,
            (f"model {model}", held[agent.agent].fingerprint),
            (f"dtype of {model}", held[agent.agent].dtype),
        )
        for agent in members
    }
    return replace(
        picture,
        plans=(*picture.plans, (plan, plan.begin_step)),
        last_version=plan.version,
        unplanned_since_s=None,
        usage={**usage, **picture.usage},
        versions={**picture.versions, **versions},
        predicted_denoise_s=picture.predicted_denoise_s if picture.plans else predicted_denoise_s,
        told_s=None,
    )
