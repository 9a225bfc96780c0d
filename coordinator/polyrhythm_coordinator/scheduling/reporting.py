"""The final account of a picture, put together from what was measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from polyrhythm.ids import AgentId
from polyrhythm.plan import Plan
from polyrhythm.reports import AgentUsage, JobReport
from polyrhythm_coordinator.scheduling.job_state import Job, Picture

RowsHeld = tuple[int, int, int, int, int]
"""``(begin_step, end_step, begin, end, stride)``."""


def job_report(job: Job, picture: Picture) -> JobReport:
    """The account of a completed picture."""
    started_s = job.accepted_s if job.started_s is None else job.started_s
    steps_s = 0.0
    if picture.first_step_s is not None and picture.last_step_s is not None:
        steps_s = picture.last_step_s - picture.first_step_s
    return JobReport(
        job=job.job,
        image_index=picture.index,
        seed=picture.image.seed,
        plans=tuple(plan for plan, _ in picture.plans),
        agents=tuple(_usage(picture, agent) for agent in sorted(picture.usage)),
        encode_s=picture.encode_s,
        denoise_s=steps_s,
        decode_s=picture.decode_s,
        queued_s=started_s - job.accepted_s,
        predicted_denoise_s=picture.predicted_denoise_s,
        versions=versions_of(picture.versions),
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
