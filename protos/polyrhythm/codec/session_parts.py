"""Parts that commands and events of a session share: epochs, workloads, profiles, links, beat reports."""

from __future__ import annotations

from polyrhythm.agent.v1 import session_pb2
from polyrhythm.codec.bounds import (
    CORRECTIONS_MAX,
    COUNT_MAX,
    SIDE_PX_MAX,
    TRAFFIC_BYTES_MAX,
    count,
    few,
    name,
    positive_seconds,
    seconds,
    within,
)
from polyrhythm.codec.fields import EnumTable, invariants, part
from polyrhythm.codec.fleet import MODEL_PARTS, model_parts_from_proto
from polyrhythm.codec.plan import measured_link, peak_memory_from_proto, peak_memory_to_proto
from polyrhythm.ids import AgentId, EpochId, LayerId
from polyrhythm.job.image import STEPS_MAX
from polyrhythm.job.reports import BeatReport, Correction, CorrectionKind
from polyrhythm.plan.profile import JITTER_MAX, Link, Profile, Workload

CORRECTION_KINDS = EnumTable(
    CorrectionKind,
    {
        CorrectionKind.ELEMENT: session_pb2.CORRECTION_KIND_ELEMENT,
        CorrectionKind.ROLLED_BACK: session_pb2.CORRECTION_KIND_ROLLED_BACK,
        CorrectionKind.STEP_RESTARTED: session_pb2.CORRECTION_KIND_STEP_RESTARTED,
    },
)


def epoch_to_proto(epoch: EpochId) -> session_pb2.EpochId:
    """Encodes the name of a run."""
    return session_pb2.EpochId(incarnation=epoch.incarnation, counter=epoch.counter)


def epoch_from_proto(proto: session_pb2.EpochId, path: str = "epoch") -> EpochId:
    """Decodes the name of a run.

    Raises:
        WireError: a number is negative.
    """
    with invariants(path):
        return EpochId(incarnation=proto.incarnation, counter=proto.counter)


def workload_to_proto(workload: Workload) -> session_pb2.Workload:
    """Encodes what a profile is valid for."""
    return session_pb2.Workload(
        model=workload.model, width_px=workload.width_px, height_px=workload.height_px, batch=workload.batch
    )


def workload_from_proto(proto: session_pb2.Workload, path: str = "workload") -> Workload:
    """Decodes what a profile is valid for.

    Raises:
        WireError: the model has no name.
    """
    return Workload(
        model=name(proto.model, f"{path}.model"),
        width_px=count(proto.width_px, f"{path}.width_px", SIDE_PX_MAX),
        height_px=count(proto.height_px, f"{path}.height_px", SIDE_PX_MAX),
        batch=count(proto.batch, f"{path}.batch", COUNT_MAX),
    )


def profile_to_proto(profile: Profile) -> session_pb2.Profile:
    """Encodes a measured cost."""
    return session_pb2.Profile(
        agent=profile.agent,
        workload=workload_to_proto(profile.workload),
        fixed_s=profile.fixed_s,
        per_row_s=profile.per_row_s,
        encode_s=profile.encode_s,
        decode_s=profile.decode_s,
        samples=profile.samples,
        memory=None if profile.memory is None else peak_memory_to_proto(profile.memory),
        no_room=[MODEL_PARTS.to_proto(part) for part in profile.no_room],
        loading_s=profile.loading_s,
        offloaded=profile.offloaded,
        jitter=profile.jitter,
        measured_rows=profile.measured_rows,
    )


def profile_from_proto(proto: session_pb2.Profile, path: str = "profile") -> Profile:
    """Decodes a measured cost.

    Raises:
        WireError: the workload is missing, or a figure is out of bounds.
    """
    workload = workload_from_proto(part(proto, "workload", proto.workload, path), f"{path}.workload")
    agent = AgentId(name(proto.agent, f"{path}.agent"))
    with invariants(path):
        return Profile(
            agent=agent,
            workload=workload,
            fixed_s=seconds(proto.fixed_s, f"{path}.fixed_s"),
            per_row_s=positive_seconds(proto.per_row_s, f"{path}.per_row_s"),
            encode_s=seconds(proto.encode_s, f"{path}.encode_s"),
            decode_s=seconds(proto.decode_s, f"{path}.decode_s"),
            samples=count(proto.samples, f"{path}.samples", COUNT_MAX),
            memory=peak_memory_from_proto(proto.memory, f"{path}.memory") if proto.HasField("memory") else None,
            no_room=model_parts_from_proto(proto.no_room, f"{path}.no_room"),
            loading_s=seconds(proto.loading_s, f"{path}.loading_s"),
            offloaded=proto.offloaded,
            jitter=within(proto.jitter, f"{path}.jitter", 0.0, JITTER_MAX),
            measured_rows=count(proto.measured_rows, f"{path}.measured_rows", COUNT_MAX),
        )


def link_to_proto(peer: AgentId, link: Link) -> session_pb2.Link:
    """Encodes the measured cost of messages to a peer."""
    return session_pb2.Link(
        peer=peer,
        latency_s=link.latency_s,
        bytes_per_s=link.bytes_per_s,
        handling_s=link.handling_s,
        handling_s_per_byte=link.handling_s_per_byte,
    )


def link_from_proto(proto: session_pb2.Link, path: str = "link") -> tuple[AgentId, Link]:
    """Decodes the measured cost of messages to a peer.

    Raises:
        WireError: the peer has no name, or a figure is out of bounds.
    """
    return AgentId(name(proto.peer, f"{path}.peer")), measured_link(proto, path)


def beat_report_to_proto(report: BeatReport) -> session_pb2.BeatDone:
    """Encodes one agent's account of one beat."""
    return session_pb2.BeatDone(
        epoch=epoch_to_proto(report.epoch),
        boundary_step=report.boundary_step,
        plan_version=report.plan_version,
        active_steps=report.active_steps,
        busy_s=report.busy_s,
        wait_s=report.wait_s,
        sent_bytes=report.sent_bytes,
        wall_s=report.wall_s,
        last=report.last,
        corrections=[
            session_pb2.Correction(
                step=found.step, layer=found.layer, kind=CORRECTION_KINDS.to_proto(found.kind), elements=found.elements
            )
            for found in report.corrections
        ],
        step_s=report.step_s,
        changed=report.changed,
    )


def beat_report_from_proto(proto: session_pb2.BeatDone, path: str = "beat_done") -> BeatReport:
    """Decodes one agent's account of one beat.

    Raises:
        WireError: the epoch is missing, a figure is out of bounds, or a correction names no layer or an unknown kind.
    """
    return BeatReport(
        epoch=epoch_from_proto(part(proto, "epoch", proto.epoch, path), f"{path}.epoch"),
        boundary_step=count(proto.boundary_step, f"{path}.boundary_step", STEPS_MAX),
        plan_version=proto.plan_version,
        active_steps=count(proto.active_steps, f"{path}.active_steps", STEPS_MAX),
        busy_s=seconds(proto.busy_s, f"{path}.busy_s"),
        wait_s=seconds(proto.wait_s, f"{path}.wait_s"),
        sent_bytes=count(proto.sent_bytes, f"{path}.sent_bytes", TRAFFIC_BYTES_MAX),
        wall_s=seconds(proto.wall_s, f"{path}.wall_s"),
        last=proto.last,
        corrections=tuple(
            Correction(
                step=count(found.step, f"{path}.corrections[{index}].step", STEPS_MAX),
                layer=LayerId(name(found.layer, f"{path}.corrections[{index}].layer")),
                kind=CORRECTION_KINDS.from_proto(found.kind, f"{path}.corrections[{index}].kind"),
                elements=count(found.elements, f"{path}.corrections[{index}].elements", COUNT_MAX),
            )
            for index, found in enumerate(few(proto.corrections, f"{path}.corrections", CORRECTIONS_MAX))
        ),
        step_s=tuple(
            seconds(step_s, f"{path}.step_s[{index}]")
            for index, step_s in enumerate(few(proto.step_s, f"{path}.step_s", STEPS_MAX))
        ),
        changed=proto.changed,
    )
