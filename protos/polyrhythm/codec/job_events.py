"""What the client of a job is told, to and from ``polyrhythm.v1.GenerateResponse``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from polyrhythm.codec.bounds import finite, name
from polyrhythm.codec.fields import EnumTable, FieldError, part
from polyrhythm.codec.fleet import MODEL_PARTS, software_to_proto
from polyrhythm.codec.plan import (
    explanation_from_proto,
    explanation_to_proto,
    plan_from_proto,
    plan_to_proto,
    rows_from_proto,
)
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import (
    Accepted,
    AgentFailed,
    Delayed,
    ImageChunk,
    ImageCompleted,
    JobEvent,
    PartLoaded,
    Planned,
    Previewed,
    Profiling,
    Progressed,
    Queued,
    Replanned,
    ReplanReason,
)
from polyrhythm.job.reports import AgentUsage, JobReport
from polyrhythm.v1 import image_pb2, plan_pb2

REPLAN_REASONS = EnumTable(
    ReplanReason,
    {
        ReplanReason.AGENT_LOST: image_pb2.REPLAN_REASON_AGENT_LOST,
        ReplanReason.AGENT_JOINED: image_pb2.REPLAN_REASON_AGENT_JOINED,
        ReplanReason.AGENT_DRAINED: image_pb2.REPLAN_REASON_AGENT_DRAINED,
        ReplanReason.SPEED_CHANGED: image_pb2.REPLAN_REASON_SPEED_CHANGED,
        ReplanReason.EPOCH_FAILED: image_pb2.REPLAN_REASON_EPOCH_FAILED,
        ReplanReason.OUT_OF_MEMORY: image_pb2.REPLAN_REASON_OUT_OF_MEMORY,
    },
)


def job_event_to_proto(event: JobEvent) -> image_pb2.GenerateResponse:  # noqa: C901, PLR0911, PLR0912 - a kind of event each
    """Encodes an event of a job."""
    response = image_pb2.GenerateResponse
    match event:
        case Accepted(job=job):
            return response(accepted=image_pb2.Accepted(job=job))
        case Queued(position=position):
            return response(queued=image_pb2.Queued(position=position))
        case Delayed(reason=reason):
            return response(delayed=image_pb2.Delayed(reason=reason))
        case Profiling(agents=agents, width_px=width_px, height_px=height_px, done=done, of=of):
            told = image_pb2.Profiling(agents=agents, width_px=width_px, height_px=height_px, done=done, of=of)
            return response(profiling=told)
        case Planned(image_index=index, explanation=explanation):
            planned = image_pb2.Planned(image_index=index, explanation=explanation_to_proto(explanation))
            return response(planned=planned)
        case Progressed():
            return response(progressed=_progressed_to_proto(event))
        case Previewed(image_index=index, step=step, png=png):
            return response(previewed=image_pb2.Previewed(image_index=index, step=step, png=png))
        case PartLoaded():
            return response(part_loaded=_loaded_to_proto(event))
        case AgentFailed(agent=agent, reason=reason):
            return response(agent_failed=image_pb2.AgentFailed(agent=agent, reason=reason))
        case Replanned():
            return response(replanned=_replanned_to_proto(event))
        case ImageChunk(image_index=index, offset=offset, data=data, last=last):
            return response(image_chunk=image_pb2.ImageChunk(image_index=index, offset=offset, data=data, last=last))
        case ImageCompleted(report=report):
            return response(image_completed=image_pb2.ImageCompleted(report=job_report_to_proto(report)))
        case _:
            assert_never(event)


def job_event_from_proto(proto: image_pb2.GenerateResponse) -> JobEvent:  # noqa: C901, PLR0911, PLR0912 - a kind of event each
    """Decodes an event of a job.

    Raises:
        WireError: the event is not known here, or a field of it means nothing.
    """
    match proto.WhichOneof("event"):
        case "accepted":
            return Accepted(job=JobId(name(proto.accepted.job, "accepted.job")))
        case "queued":
            return Queued(position=proto.queued.position)
        case "delayed":
            return Delayed(reason=proto.delayed.reason)
        case "profiling":
            return _profiling_from_proto(proto.profiling)
        case "planned":
            return _planned_from_proto(proto.planned)
        case "progressed":
            return _progressed_from_proto(proto.progressed)
        case "previewed":
            seen = proto.previewed
            return Previewed(image_index=seen.image_index, step=seen.step, png=seen.png)
        case "part_loaded":
            return _loaded_from_proto(proto.part_loaded)
        case "agent_failed":
            agent = AgentId(name(proto.agent_failed.agent, "agent_failed.agent"))
            return AgentFailed(agent=agent, reason=proto.agent_failed.reason)
        case "replanned":
            return _replanned_from_proto(proto.replanned)
        case "image_chunk":
            chunk = proto.image_chunk
            return ImageChunk(image_index=chunk.image_index, offset=chunk.offset, data=chunk.data, last=chunk.last)
        case "image_completed":
            done = proto.image_completed
            report = part(done, "report", done.report, "image_completed")
            return ImageCompleted(report=job_report_from_proto(report, "image_completed.report"))
        case _:
            raise FieldError("event", "is not set, or is of a kind that this version does not know")


def job_report_to_proto(report: JobReport) -> image_pb2.JobReport:
    """Encodes the account of one picture."""
    return image_pb2.JobReport(
        job=report.job,
        image_index=report.image_index,
        seed=report.seed,
        plans=[plan_to_proto(plan) for plan in report.plans],
        agents=[_usage_to_proto(usage) for usage in report.agents],
        encode_s=report.encode_s,
        denoise_s=report.denoise_s,
        decode_s=report.decode_s,
        queued_s=report.queued_s,
        predicted_denoise_s=report.predicted_denoise_s,
        versions=software_to_proto(report.versions),
    )


def job_report_from_proto(proto: image_pb2.JobReport, path: str = "report") -> JobReport:
    """Decodes the account of one picture.

    Raises:
        WireError: a field means nothing.
    """
    return JobReport(
        job=JobId(name(proto.job, f"{path}.job")),
        image_index=proto.image_index,
        seed=proto.seed,
        plans=tuple(plan_from_proto(plan, f"{path}.plans[{index}]") for index, plan in enumerate(proto.plans)),
        agents=tuple(_usage_from_proto(usage, f"{path}.agents[{index}]") for index, usage in enumerate(proto.agents)),
        encode_s=finite(proto.encode_s, f"{path}.encode_s"),
        denoise_s=finite(proto.denoise_s, f"{path}.denoise_s"),
        decode_s=finite(proto.decode_s, f"{path}.decode_s"),
        queued_s=finite(proto.queued_s, f"{path}.queued_s"),
        predicted_denoise_s=finite(proto.predicted_denoise_s, f"{path}.predicted_denoise_s"),
        versions=tuple((software.name, software.version) for software in proto.versions),
    )


def _usage_to_proto(usage: AgentUsage) -> image_pb2.AgentUsage:
    return image_pb2.AgentUsage(
        agent=usage.agent,
        device=usage.device,
        rows=[
            image_pb2.RowsHeld(
                begin_step=begin_step,
                end_step=end_step,
                rows=plan_pb2.RowRange(begin=begin, end=end),
                stride=stride,
            )
            for begin_step, end_step, begin, end, stride in usage.rows
        ],
        steps=usage.steps,
        busy_s=usage.busy_s,
        wait_s=usage.wait_s,
        sent_bytes=usage.sent_bytes,
        emulated=usage.emulated,
        corrections=usage.corrections,
    )


def _usage_from_proto(proto: image_pb2.AgentUsage, path: str) -> AgentUsage:
    rows: list[tuple[int, int, int, int, int]] = []
    for index, held in enumerate(proto.rows):
        inner = f"{path}.rows[{index}]"
        units = rows_from_proto(part(held, "rows", held.rows, inner), f"{inner}.rows")
        rows.append((held.begin_step, held.end_step, units.begin, units.end, held.stride))
    return AgentUsage(
        agent=AgentId(name(proto.agent, f"{path}.agent")),
        device=proto.device,
        rows=tuple(rows),
        steps=proto.steps,
        busy_s=finite(proto.busy_s, f"{path}.busy_s"),
        wait_s=finite(proto.wait_s, f"{path}.wait_s"),
        sent_bytes=proto.sent_bytes,
        emulated=proto.emulated,
        corrections=proto.corrections,
    )


def _planned_from_proto(proto: image_pb2.Planned) -> Planned:
    explanation = part(proto, "explanation", proto.explanation, "planned")
    return Planned(
        image_index=proto.image_index, explanation=explanation_from_proto(explanation, "planned.explanation")
    )


def _progressed_to_proto(event: Progressed) -> image_pb2.Progressed:
    return image_pb2.Progressed(
        image_index=event.image_index, step=event.step, steps=event.steps, left_s=event.left_s, agents=event.agents
    )


def _progressed_from_proto(proto: image_pb2.Progressed) -> Progressed:
    return Progressed(
        image_index=proto.image_index,
        step=proto.step,
        steps=proto.steps,
        left_s=finite(proto.left_s, "progressed.left_s"),
        agents=_agents(proto.agents, "progressed.agents"),
    )


def _loaded_to_proto(event: PartLoaded) -> image_pb2.PartLoaded:
    return image_pb2.PartLoaded(
        image_index=event.image_index,
        agent=event.agent,
        part=MODEL_PARTS.to_proto(event.part),
        loading_s=event.loading_s,
    )


def _loaded_from_proto(proto: image_pb2.PartLoaded) -> PartLoaded:
    return PartLoaded(
        image_index=proto.image_index,
        agent=AgentId(name(proto.agent, "part_loaded.agent")),
        part=MODEL_PARTS.from_proto(proto.part, "part_loaded.part"),
        loading_s=finite(proto.loading_s, "part_loaded.loading_s"),
    )


def _replanned_to_proto(event: Replanned) -> image_pb2.Replanned:
    return image_pb2.Replanned(
        image_index=event.image_index,
        reason=REPLAN_REASONS.to_proto(event.reason),
        begin_step=event.begin_step,
        plan=plan_to_proto(event.plan),
    )


def _replanned_from_proto(proto: image_pb2.Replanned) -> Replanned:
    return Replanned(
        image_index=proto.image_index,
        reason=REPLAN_REASONS.from_proto(proto.reason, "replanned.reason"),
        begin_step=proto.begin_step,
        plan=plan_from_proto(part(proto, "plan", proto.plan, "replanned"), "replanned.plan"),
    )


def _agents(names: Iterable[str], path: str) -> tuple[AgentId, ...]:
    return tuple(AgentId(name(agent, f"{path}[{index}]")) for index, agent in enumerate(names))


def _profiling_from_proto(proto: image_pb2.Profiling) -> Profiling:
    return Profiling(
        agents=_agents(proto.agents, "profiling.agents"),
        width_px=proto.width_px,
        height_px=proto.height_px,
        done=proto.done,
        of=proto.of,
    )
