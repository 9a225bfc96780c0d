"""The final account of a picture, put together from what was measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from polyrhythm.ids import AgentId
from polyrhythm.job.reports import AgentUsage, JobReport
from polyrhythm.plan.plan import Plan
from polyrhythm_coordinator.scheduling.state.job import Job, Picture

RowsHeld = tuple[int, int, int, int, int]
"""``(begin_step, end_step, begin, end, stride)``."""


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
        plans=plans,
        agents=tuple(_usage(picture, agent) for agent in sorted(worked)),
        encode_s=picture.encode_s,
        denoise_s=steps_s,
        decode_s=picture.decode_s,
        queued_s=started_s - job.accepted_s,
        predicted_denoise_s=picture.predicted_denoise_s,
        versions=versions_of({agent: held for agent, held in picture.versions.items() if agent in members}),
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


def versions_of(by_agent: Mapping[AgentId, tuple[tuple[str, str], ...]]) -> tuple[tuple[str, str], ...]:
    """Versions of all agents: one entry a name where they agree, one an agent (``name@agent``) where they differ."""
    values: dict[str, dict[AgentId, str]] = {}
    for agent in sorted(by_agent):
        for name, version in by_agent[agent]:
            values.setdefault(name, {})[agent] = version
    found: list[tuple[str, str]] = []
    for name in sorted(values):
        versions = values[name]
        if len(set(versions.values())) == 1:
            found.append((name, next(iter(versions.values()))))
        else:
            found.extend((f"{name}@{agent}", version) for agent, version in versions.items())
    return tuple(found)


def _usage(picture: Picture, agent: AgentId) -> AgentUsage:
    usage = picture.usage[agent]
    return AgentUsage(
        agent=agent,
        device=usage.device,
        rows=tuple(held for plan, until in picture.plans for held in _rows_held(plan, until, agent)),
        steps=usage.steps,
        busy_s=usage.busy_s,
        wait_s=usage.wait_s,
        sent_bytes=usage.sent_bytes,
        emulated=usage.emulated,
        corrections=usage.corrections,
    )


def _rows_held(plan: Plan, until: int, agent: AgentId) -> tuple[RowsHeld, ...]:
    """Rows in each segment, as far as the plan was followed."""
    if agent not in plan.agents:
        return ()
    return tuple(
        (segment.begin_step, min(segment.end_step, until), share.rows.begin, share.rows.end, share.stride)
        for segment in plan.segments
        if segment.begin_step < until
        for share in (segment.of(agent),)
    )
