"""From a plan to an epoch: whether the plan can still be followed, who holds the state to go on from, and the start."""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.ids import AgentId, GangId
from polyrhythm.job.events import ImagePlanned, ImageReplanned
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.plan import Plan
from polyrhythm.session.commands import StartEpoch
from polyrhythm_coordinator.scheduling.epochs.deadlines import forming_deadline_s, step_timeout_s
from polyrhythm_coordinator.scheduling.epochs.plan_delivery import beats_ahead, segments_due
from polyrhythm_coordinator.scheduling.epochs.progress import tell_progress
from polyrhythm_coordinator.scheduling.fleet.eligibility import Bar, bar_of, of_picture
from polyrhythm_coordinator.scheduling.fleet.planner_inputs import plan_request, profiles_of
from polyrhythm_coordinator.scheduling.planning.dtypes import exchanged_as
from polyrhythm_coordinator.scheduling.planning.explanation import predicted
from polyrhythm_coordinator.scheduling.planning.forecast import forecast
from polyrhythm_coordinator.scheduling.planning.plan_algebra import widened_plan
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.speed_change import SpeedWatch, times_evidence
from polyrhythm_coordinator.scheduling.state.epoch import Epoch, EpochStage, MemberRun
from polyrhythm_coordinator.scheduling.state.job import Picture, Usage
from polyrhythm_coordinator.scheduling.state.phases import Preparing, Running
from polyrhythm_coordinator.scheduling.state.rendezvous_store import RendezvousStore
from polyrhythm_coordinator.scheduling.state.replan import ReplanState
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.transaction import Transaction

MEMBER_IGNORES = frozenset({Bar.UNMEASURED})
"""What does not keep a member of a plan from starting it: the plan rests on what was known of its speed."""
HOLDER_IGNORES = frozenset({Bar.DRAINED, Bar.LEFT_OUT})
"""What does not keep a member without rows from handing on the state that it holds."""


def start_or_prepare(tx: Transaction, picture: Picture, explanation: Explanation, *, searched: PlanRequest) -> None:
    """Starts what was planned; if the fleet has changed under it, the picture is planned again.

    Args:
        tx: the transaction.
        picture: that was planned.
        explanation: with the plan.
        searched: among whom the plan was searched.
    """
    explanation = _led(tx.state, picture, explanation, searched)
    led = _is_led(picture, explanation.chosen.plan)
    if led and can_start(tx.state, picture, explanation.chosen.plan):
        _start(tx, picture, explanation, searched)
        return
    # Somebody must hold the state from which the picture goes on; if the best plan needs none of them, they work alone.
    tx.put_picture(replace(picture, phase=Preparing(since_s=tx.now_s), holders_only=not led))


def can_start(state: State, picture: Picture, plan: Plan) -> bool:
    """Whether all members of a plan are there, able and free."""
    view = of_picture(state, picture)
    idle = {name for name in plan.agents if not any(segment.of(name).rows.count for segment in plan.segments)}
    ignored = {name: MEMBER_IGNORES | HOLDER_IGNORES if name in idle else MEMBER_IGNORES for name in plan.agents}
    return all(bar_of(view, name, ignoring=ignored[name]) is None for name in plan.agents)


def _is_led(picture: Picture, plan: Plan) -> bool:
    return not plan.begin_step or any(agent in picture.holders for agent in plan.agents)


def _led(state: State, picture: Picture, explanation: Explanation, searched: PlanRequest) -> Explanation:
    """A plan with somebody who holds the state to go on from: if it needs none of them, one joins without rows."""
    plan = explanation.chosen.plan
    if _is_led(picture, plan):
        return explanation
    view = of_picture(state, picture)
    able = [name for name in picture.holders if bar_of(view, name, ignoring=HOLDER_IGNORES) is None]
    if not able:
        return explanation
    root = min(able, key=lambda name: (name in state.drained, name))
    profiles = (*searched.profiles, *profiles_of(state, picture, (root,)))
    known = {profile.agent: profile for profile in profiles}
    request = plan_request(state, picture, tuple(known[name] for name in sorted(known)), plan.begin_step)
    wide = widened_plan(plan, tuple(sorted((*plan.agents, root))), plan.decoder)
    chosen = replace(explanation.chosen, plan=wide, prediction=predicted(wide, request))
    return replace(explanation, chosen=chosen, profiles=request.profiles)


def _start(tx: Transaction, picture: Picture, explanation: Explanation, searched: PlanRequest) -> None:
    """Forms the gang of a planned picture, or of the rest of it."""
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
        replan=ReplanState(
            assumed={agent: assumed[agent] for agent in plan.agents},
            weighed=frozenset((*searched.agents, *plan.agents)),
            watches=dict.fromkeys(plan.agents, SpeedWatch(times=times_evidence(picture.speed_plans))),
            lead_s=tx.limits.replan_lead_s,
        ),
        reported_s=tx.clock_s,
        segments_sent=segments_due(plan, plan.begin_step, beats_ahead(tx.limits, course, plan.begin_step)),
        members={agent: MemberRun(step=plan.begin_step, boundary=plan.begin_step) for agent in plan.agents},
        stage=EpochStage.FORMING,
        deadline_s=forming_deadline_s(tx.limits, course, tx.now_s),
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
        tx.tell(picture.job, ImagePlanned(image_index=picture.index, explanation=explanation))
    else:
        replanned = ImageReplanned(
            image_index=picture.index, reason=picture.replan, begin_step=plan.begin_step, plan=plan
        )
        tx.tell(picture.job, replanned)
    command = _start_command(tx, epoch, picture)
    for agent in plan.agents:
        tx.send(agent, replace(command, memory_need_bytes=epoch.needs_bytes.get(agent, 0)))
    tell_progress(tx, epoch, encode_s=course.encode_s)


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
        agent.agent: Usage(
            device=agent.device,
            dtype=(agent.own_facts(picture.facts) or picture.facts).dtype,
            software=agent.software,
        )
        for agent in members
    }
    return replace(
        picture,
        plans=(*picture.plans, (plan, plan.begin_step)),
        last_version=plan.version,
        unplanned_since_s=None,
        usage={**usage, **picture.usage},
        predicted_denoise_s=picture.predicted_denoise_s if picture.plans else predicted_denoise_s,
    )
