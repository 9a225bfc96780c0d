"""The final account of a picture, put together from what was measured. Pure."""

from __future__ import annotations

from polyrhythm.ids import AgentId
from polyrhythm.job.reports import AgentUsage, JobReport, RowsHeld
from polyrhythm.plan.plan import Plan
from polyrhythm_coordinator.scheduling.state.job import Job, Picture


def job_report(job: Job, picture: Picture) -> JobReport:
    """The account of a completed picture."""
    started_s = job.accepted_s if job.started_s is None else job.started_s
    steps_s = 0.0
    if picture.first_step_s is not None and picture.last_step_s is not None:
        steps_s = picture.last_step_s - picture.first_step_s
    plans = followed_plans(picture.plans)
    members = {agent for plan in plans for agent in plan.agents}
    worked = members.union(agent for agent, usage in picture.usage.items() if usage.steps)
    return JobReport(
        job=job.job,
        image_index=picture.index,
        seed=picture.image.seed,
        fingerprint=picture.facts.fingerprint,
        plans=plans,
        agents=tuple(_usage(picture, agent) for agent in sorted(worked)),
        encode_s=picture.encode_s,
        denoise_s=steps_s,
        decode_s=picture.decode_s,
        queued_s=started_s - job.accepted_s,
        predicted_denoise_s=picture.predicted_denoise_s,
    )


def followed_plans(plans: tuple[tuple[Plan, int], ...]) -> tuple[Plan, ...]:
    """Plans to which the picture owes a step.

    Left out are plans whose epoch failed before its first boundary, and those whose steps a later plan made again.

    Args:
        plans: in order, each with the step up to which it was followed; the last one made the picture.
    """
    begin_steps = [plan.begin_step for plan, _ in plans]
    return tuple(
        plan
        for index, (plan, until) in enumerate(plans)
        if index == len(plans) - 1 or min([until, *begin_steps[index + 1 :]]) > plan.begin_step
    )


def _usage(picture: Picture, agent: AgentId) -> AgentUsage:
    usage = picture.usage[agent]
    return AgentUsage(
        agent=agent,
        device=usage.device,
        dtype=usage.dtype,
        software=usage.software,
        rows=tuple(held for plan, until in picture.plans for held in _rows_held(plan, until, agent)),
        steps=usage.steps,
        busy_s=usage.busy_s,
        wait_s=usage.wait_s,
        sent_bytes=usage.sent_bytes,
        corrections=usage.corrections,
    )


def _rows_held(plan: Plan, until: int, agent: AgentId) -> tuple[RowsHeld, ...]:
    """Rows in each segment, as far as the plan was followed."""
    if agent not in plan.agents:
        return ()
    return tuple(
        RowsHeld(
            begin_step=segment.begin_step, end_step=min(segment.end_step, until), rows=share.rows, stride=share.stride
        )
        for segment in plan.segments
        if segment.begin_step < until
        for share in (segment.of(agent),)
    )
