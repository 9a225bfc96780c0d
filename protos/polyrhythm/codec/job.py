"""What the client of a job is told, to and from ``polyrhythm.v1``."""

from __future__ import annotations

from polyrhythm.codec.bounds import finite, label, name
from polyrhythm.codec.device import DEVICE, SOFTWARE
from polyrhythm.codec.explanation import EXPLANATION
from polyrhythm.codec.image import IMAGE_SPEC
from polyrhythm.codec.mapping import EnumTable, Few, Mapped, OneOf, trusted
from polyrhythm.codec.model import MODEL_PARTS
from polyrhythm.codec.plan import PLAN, ROWS
from polyrhythm.job.events import (
    AgentFailed,
    ImageChunk,
    ImageCompleted,
    ImagePlanned,
    ImagePreviewed,
    ImageProgressed,
    ImageReplanned,
    JobAccepted,
    JobDelayed,
    JobEvent,
    JobQueued,
    ModelPartLoaded,
    ProfilingProgressed,
    ReplanReason,
)
from polyrhythm.job.reports import AgentUsage, JobReport, RowsHeld
from polyrhythm.v1 import image_service_pb2, job_pb2

_ROWS_HELD = Mapped(RowsHeld, job_pb2.RowsHeld, begin_step=trusted, end_step=trusted, rows=ROWS, stride=trusted)
_USAGE = Mapped(
    AgentUsage,
    job_pb2.AgentUsage,
    agent=name,
    device=DEVICE,
    dtype=label,
    software=SOFTWARE,
    rows=Few(None, _ROWS_HELD),
    steps=trusted,
    busy_s=finite,
    wait_s=finite,
    sent_bytes=trusted,
    corrections=trusted,
)
_REPORT = Mapped(
    JobReport,
    job_pb2.JobReport,
    job=name,
    image_index=trusted,
    seed=trusted,
    fingerprint=label,
    plans=Few(None, PLAN),
    agents=Few(None, _USAGE),
    encode_s=finite,
    denoise_s=finite,
    decode_s=finite,
    queued_s=finite,
    predicted_denoise_s=finite,
)
JOB_EVENT: OneOf[JobEvent, image_service_pb2.GenerateResponse] = OneOf(
    JobEvent,
    image_service_pb2.GenerateResponse,
    job_accepted=Mapped(JobAccepted, job_pb2.JobAccepted, job=name, image=IMAGE_SPEC, fingerprint=label),
    job_queued=Mapped(JobQueued, job_pb2.JobQueued, position=trusted),
    job_delayed=Mapped(JobDelayed, job_pb2.JobDelayed, reason=trusted),
    profiling_progressed=Mapped(
        ProfilingProgressed,
        job_pb2.ProfilingProgressed,
        agents=Few(None, name),
        width_px=trusted,
        height_px=trusted,
        done=trusted,
        total=trusted,
    ),
    image_planned=Mapped(ImagePlanned, job_pb2.ImagePlanned, image_index=trusted, explanation=EXPLANATION),
    image_progressed=Mapped(
        ImageProgressed,
        job_pb2.ImageProgressed,
        image_index=trusted,
        step=trusted,
        steps=trusted,
        left_s=finite,
        agents=Few(None, name),
    ),
    image_previewed=Mapped(ImagePreviewed, job_pb2.ImagePreviewed, image_index=trusted, step=trusted, png=trusted),
    model_part_loaded=Mapped(
        ModelPartLoaded, job_pb2.ModelPartLoaded, image_index=trusted, agent=name, part=MODEL_PARTS, loading_s=finite
    ),
    agent_failed=Mapped(AgentFailed, job_pb2.AgentFailed, agent=name, reason=trusted),
    image_replanned=Mapped(
        ImageReplanned,
        job_pb2.ImageReplanned,
        image_index=trusted,
        reason=EnumTable(ReplanReason, job_pb2.ReplanReason),
        begin_step=trusted,
        plan=PLAN,
    ),
    image_chunk=Mapped(ImageChunk, job_pb2.ImageChunk, image_index=trusted, offset=trusted, data=trusted),
    image_completed=Mapped(ImageCompleted, job_pb2.ImageCompleted, report=_REPORT),
)
