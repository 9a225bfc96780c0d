"""Events of agents, to and from ``polyrhythm.agent.v1.AgentEvent``."""

from __future__ import annotations

from collections.abc import Sequence

from polyrhythm.agent.v1 import events_pb2, session_pb2
from polyrhythm.codec.bounds import (
    BYTES_MAX,
    CORRECTIONS_MAX,
    COUNT_MAX,
    EVENTS_MAX,
    HELD_BOUNDARIES_MAX,
    MEMBERS_MAX,
    PREVIEW_BYTES_MAX,
    REGISTER_BYTES_MAX,
    TEXTS_MAX,
    TRAFFIC_BYTES_MAX,
    VALUE_BYTES_MAX,
    agent_name,
    blob,
    check_bytes,
    check_length,
    count,
    label,
    name,
    seconds,
    told,
    told_all,
)
from polyrhythm.codec.commands import EPOCH
from polyrhythm.codec.device import DEVICE, SOFTWARE
from polyrhythm.codec.fields import at
from polyrhythm.codec.mapping import EnumTable, Few, Mapped, OneOf, trusted
from polyrhythm.codec.model import MODEL_PARTS, MODELS
from polyrhythm.codec.profile import LINK, MEASURED_PROFILE
from polyrhythm.errors import FieldViolation
from polyrhythm.job.image import STEPS_MAX
from polyrhythm.job.picture_file import PART_BYTES
from polyrhythm.job.reports import BeatReport, Correction, CorrectionKind
from polyrhythm.session.events import (
    AgentEvent,
    BeatDone,
    EpochEnded,
    EpochJoined,
    EpochOutcome,
    Heartbeat,
    ImageMade,
    MemoryRead,
    PartLoaded,
    PeerLink,
    PreviewMade,
    ProfileMeasured,
    Register,
    RequestFailed,
    StepDone,
    TokensCounted,
    WorkerLost,
    WorkerReady,
)
from polyrhythm.session.rendezvous import StoreOperation, StoreRequest


def _check_size(proto: events_pb2.Register) -> None:
    check_bytes(proto.ByteSize(), REGISTER_BYTES_MAX)


_VIOLATION = Mapped(FieldViolation, events_pb2.FieldViolation, field=name, description=told)
_PEER_LINK = Mapped(PeerLink, events_pb2.PeerLink, peer=name, link=LINK)
_CORRECTION = Mapped(
    Correction,
    events_pb2.Correction,
    step=count(STEPS_MAX),
    layer=name,
    kind=EnumTable(CorrectionKind, events_pb2.CorrectionKind),
    elements=count(COUNT_MAX),
)
_BEAT_REPORT = Mapped(
    BeatReport,
    events_pb2.BeatReport,
    epoch=EPOCH,
    boundary_step=count(STEPS_MAX),
    plan_version=trusted,
    active_steps=count(STEPS_MAX),
    busy_s=seconds,
    wait_s=seconds,
    sent_bytes=count(TRAFFIC_BYTES_MAX),
    wall_s=seconds,
    corrections=Few(CORRECTIONS_MAX, _CORRECTION),
    step_s=Few(STEPS_MAX, seconds),
)
AGENT_EVENT: OneOf[AgentEvent, session_pb2.AgentEvent] = OneOf(
    AgentEvent,
    session_pb2.AgentEvent,
    register=Mapped(
        Register,
        events_pb2.Register,
        before=_check_size,
        agent=agent_name,
        protocol_version=trusted,
        software=SOFTWARE,
        device=DEVICE,
    ),
    worker_ready=Mapped(WorkerReady, events_pb2.WorkerReady, models=MODELS),
    worker_lost=Mapped(WorkerLost, events_pb2.WorkerLost, reason=told),
    heartbeat=Mapped(Heartbeat, events_pb2.Heartbeat, sequence=trusted),
    memory_read=Mapped(MemoryRead, events_pb2.MemoryRead, usable_bytes=count(BYTES_MAX), free_bytes=count(BYTES_MAX)),
    profile_measured=Mapped(ProfileMeasured, events_pb2.ProfileMeasured, request_id=trusted, profile=MEASURED_PROFILE),
    tokens_counted=Mapped(
        TokensCounted,
        events_pb2.TokensCounted,
        request_id=trusted,
        counts=Few(TEXTS_MAX, count(COUNT_MAX)),
        notices=told_all,
    ),
    request_failed=Mapped(
        RequestFailed, events_pb2.RequestFailed, request_id=trusted, message=told, violations=Few(TEXTS_MAX, _VIOLATION)
    ),
    epoch_joined=Mapped(
        EpochJoined, events_pb2.EpochJoined, epoch=EPOCH, encode_s=seconds, links=Few(MEMBERS_MAX, _PEER_LINK)
    ),
    part_loaded=Mapped(PartLoaded, events_pb2.PartLoaded, epoch=EPOCH, part=MODEL_PARTS, loading_s=seconds),
    step_done=Mapped(StepDone, events_pb2.StepDone, epoch=EPOCH, step=count(STEPS_MAX)),
    beat_done=Mapped(BeatDone, events_pb2.BeatDone, report=_BEAT_REPORT),
    preview_made=Mapped(
        PreviewMade, events_pb2.PreviewMade, epoch=EPOCH, step=count(STEPS_MAX), png=blob(PREVIEW_BYTES_MAX)
    ),
    image_made=Mapped(
        ImageMade,
        events_pb2.ImageMade,
        epoch=EPOCH,
        offset=count(BYTES_MAX),
        data=blob(PART_BYTES),
        decode_s=seconds,
    ),
    epoch_ended=Mapped(
        EpochEnded,
        events_pb2.EpochEnded,
        epoch=EPOCH,
        outcome=EnumTable(EpochOutcome, events_pb2.EpochOutcome),
        held_boundaries=Few(HELD_BOUNDARIES_MAX, count(STEPS_MAX)),
        message=told,
    ),
    store_request=Mapped(
        StoreRequest,
        events_pb2.StoreRequest,
        gang=name,
        request_id=trusted,
        operation=EnumTable(StoreOperation, events_pb2.StoreOperation),
        key=label,
        value=blob(VALUE_BYTES_MAX),
        amount=trusted,
    ),
)


def events_of(request: session_pb2.SessionRequest) -> Sequence[session_pb2.AgentEvent]:
    """The events of a message, not taken apart yet.

    Raises:
        FieldError: there are more than may travel together.
    """
    with at("events"):
        check_length(request.events, EVENTS_MAX)
    return request.events
