"""Events of agents, to and from ``polyrhythm.agent.v1.AgentEvent``."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from polyrhythm.agent.v1 import session_pb2
from polyrhythm.codec.bounds import (
    BYTES_MAX,
    COUNT_MAX,
    HELD_BOUNDARIES_MAX,
    MEMBERS_MAX,
    NOTICES_CHARACTERS_MAX,
    PREVIEW_BYTES_MAX,
    REGISTER_BYTES_MAX,
    TEXTS_MAX,
    VALUE_BYTES_MAX,
    blob,
    count,
    few,
    label,
    name,
    seconds,
    small,
    told,
    told_all,
)
from polyrhythm.codec.fields import EnumTable, FieldError, invariants, part
from polyrhythm.codec.fleet import (
    MODEL_PARTS,
    device_facts_from_proto,
    device_facts_to_proto,
    model_facts_to_proto,
    models_from_proto,
    software_from_proto,
    software_to_proto,
)
from polyrhythm.codec.session_parts import (
    beat_report_from_proto,
    beat_report_to_proto,
    epoch_from_proto,
    epoch_to_proto,
    link_from_proto,
    link_to_proto,
    profile_from_proto,
    profile_to_proto,
)
from polyrhythm.errors import FieldViolation
from polyrhythm.ids import AgentId, EpochId, GangId, check_agent_name
from polyrhythm.job.image import STEPS_MAX
from polyrhythm.job.picture_file import PART_BYTES
from polyrhythm.session.messages import (
    AgentEvent,
    BeatDone,
    EpochEnded,
    EpochJoined,
    EpochOutcome,
    Heartbeat,
    ImageMade,
    MemoryRead,
    PartLoaded,
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

EPOCH_OUTCOMES = EnumTable(
    EpochOutcome,
    {
        EpochOutcome.FINISHED: session_pb2.EPOCH_OUTCOME_FINISHED,
        EpochOutcome.CANCELLED: session_pb2.EPOCH_OUTCOME_CANCELLED,
        EpochOutcome.ABORTED: session_pb2.EPOCH_OUTCOME_ABORTED,
        EpochOutcome.FAILED: session_pb2.EPOCH_OUTCOME_FAILED,
    },
)
STORE_OPERATIONS = EnumTable(
    StoreOperation,
    {
        StoreOperation.SET: session_pb2.STORE_OPERATION_SET,
        StoreOperation.GET: session_pb2.STORE_OPERATION_GET,
        StoreOperation.ADD: session_pb2.STORE_OPERATION_ADD,
        StoreOperation.CHECK: session_pb2.STORE_OPERATION_CHECK,
        StoreOperation.DELETE: session_pb2.STORE_OPERATION_DELETE,
    },
)


def event_to_proto(event: AgentEvent) -> session_pb2.AgentEvent:  # noqa: C901, PLR0911, PLR0912 - one arm an event
    """Encodes an event."""
    encoded = session_pb2.AgentEvent
    match event:
        case Register():
            return encoded(register=_register_to_proto(event))
        case WorkerReady(models=models):
            ready = session_pb2.WorkerReady(models=[model_facts_to_proto(model) for model in models])
            return encoded(worker_ready=ready)
        case WorkerLost(reason=reason):
            return encoded(worker_lost=session_pb2.WorkerLost(reason=reason))
        case Heartbeat(sequence=sequence):
            return encoded(heartbeat=session_pb2.Heartbeat(sequence=sequence))
        case ProfileMeasured(request_id=request_id, profile=profile):
            measured = session_pb2.ProfileMeasured(request_id=request_id, profile=profile_to_proto(profile))
            return encoded(profile_measured=measured)
        case TokensCounted(request_id=request_id, counts=counts, notices=notices):
            counted = session_pb2.TokensCounted(request_id=request_id, counts=counts, notices=notices)
            return encoded(tokens_counted=counted)
        case RequestFailed():
            return encoded(request_failed=_failed_to_proto(event))
        case EpochJoined():
            return encoded(epoch_joined=_joined_to_proto(event))
        case PartLoaded():
            return encoded(part_loaded=_loaded_to_proto(event))
        case StepDone(epoch=epoch, step=step):
            return encoded(step_done=session_pb2.StepDone(epoch=epoch_to_proto(epoch), step=step))
        case BeatDone(report=report):
            return encoded(beat_done=beat_report_to_proto(report))
        case PreviewMade(epoch=epoch, step=step, png=png):
            return encoded(preview_made=session_pb2.PreviewMade(epoch=epoch_to_proto(epoch), step=step, png=png))
        case ImageMade():
            return encoded(image_made=_image_to_proto(event))
        case EpochEnded():
            return encoded(epoch_ended=_ended_to_proto(event))
        case StoreRequest():
            return encoded(store_request=_store_to_proto(event))
        case MemoryRead(usable_bytes=usable_bytes, free_bytes=free_bytes):
            return encoded(memory_read=session_pb2.MemoryRead(usable_bytes=usable_bytes, free_bytes=free_bytes))
        case _:
            assert_never(event)


def event_from_proto(proto: session_pb2.AgentEvent) -> AgentEvent:
    """Decodes an event.

    Raises:
        WireError: the event is not known here, or a field of it means nothing.
    """
    decode = _DECODERS.get(proto.WhichOneof("event") or "")
    if decode is None:
        raise FieldError("event", "is not set, or is of a kind that this version does not know")
    return decode(proto)


def _register_to_proto(event: Register) -> session_pb2.Register:
    return session_pb2.Register(
        agent=event.agent,
        protocol_version=event.protocol_version,
        software=software_to_proto(event.software),
        device=device_facts_to_proto(event.device),
    )


def _register_from_proto(event: session_pb2.AgentEvent) -> Register:
    proto = event.register
    small(proto, "register", REGISTER_BYTES_MAX)
    with invariants("register.agent"):
        agent = AgentId(check_agent_name(name(proto.agent, "register.agent")))
    return Register(
        agent=agent,
        protocol_version=proto.protocol_version,
        software=software_from_proto(proto.software, "register.software"),
        device=device_facts_from_proto(part(proto, "device", proto.device, "register"), "register.device"),
    )


def _ready_from_proto(event: session_pb2.AgentEvent) -> WorkerReady:
    return WorkerReady(models=models_from_proto(event.worker_ready.models, "worker_ready.models"))


def _lost_from_proto(event: session_pb2.AgentEvent) -> WorkerLost:
    return WorkerLost(reason=told(event.worker_lost.reason))


def _heartbeat_from_proto(event: session_pb2.AgentEvent) -> Heartbeat:
    return Heartbeat(sequence=event.heartbeat.sequence)


def _profile_from_proto(event: session_pb2.AgentEvent) -> ProfileMeasured:
    proto = event.profile_measured
    profile = part(proto, "profile", proto.profile, "profile_measured")
    return ProfileMeasured(request_id=proto.request_id, profile=profile_from_proto(profile, "profile_measured.profile"))


def _tokens_from_proto(event: session_pb2.AgentEvent) -> TokensCounted:
    proto = event.tokens_counted
    counts = few(proto.counts, "tokens_counted.counts", TEXTS_MAX)
    return TokensCounted(
        request_id=proto.request_id,
        counts=tuple(count(value, f"tokens_counted.counts[{index}]", COUNT_MAX) for index, value in enumerate(counts)),
        notices=told_all(proto.notices, "tokens_counted.notices", NOTICES_CHARACTERS_MAX),
    )


def _failed_to_proto(event: RequestFailed) -> session_pb2.RequestFailed:
    return session_pb2.RequestFailed(
        request_id=event.request_id,
        detail=event.detail,
        violations=[
            session_pb2.FieldViolation(field=violation.field, description=violation.description)
            for violation in event.violations
        ],
    )


def _failed_from_proto(event: session_pb2.AgentEvent) -> RequestFailed:
    proto = event.request_failed
    return RequestFailed(
        request_id=proto.request_id,
        detail=told(proto.detail),
        violations=tuple(
            FieldViolation(
                field=name(violation.field, f"request_failed.violations[{index}].field"),
                description=told(violation.description),
            )
            for index, violation in enumerate(few(proto.violations, "request_failed.violations", TEXTS_MAX))
        ),
    )


def _joined_to_proto(event: EpochJoined) -> session_pb2.EpochJoined:
    return session_pb2.EpochJoined(
        epoch=epoch_to_proto(event.epoch),
        encode_s=event.encode_s,
        links=[link_to_proto(peer, link) for peer, link in event.links],
    )


def _joined_from_proto(event: session_pb2.AgentEvent) -> EpochJoined:
    proto = event.epoch_joined
    return EpochJoined(
        epoch=_epoch(proto, "epoch_joined"),
        encode_s=seconds(proto.encode_s, "epoch_joined.encode_s"),
        links=tuple(
            link_from_proto(link, f"epoch_joined.links[{index}]")
            for index, link in enumerate(few(proto.links, "epoch_joined.links", MEMBERS_MAX))
        ),
    )


def _loaded_to_proto(event: PartLoaded) -> session_pb2.PartLoaded:
    return session_pb2.PartLoaded(
        epoch=epoch_to_proto(event.epoch), part=MODEL_PARTS.to_proto(event.part), loading_s=event.loading_s
    )


def _loaded_from_proto(event: session_pb2.AgentEvent) -> PartLoaded:
    proto = event.part_loaded
    return PartLoaded(
        epoch=_epoch(proto, "part_loaded"),
        part=MODEL_PARTS.from_proto(proto.part, "part_loaded.part"),
        loading_s=seconds(proto.loading_s, "part_loaded.loading_s"),
    )


def _step_from_proto(event: session_pb2.AgentEvent) -> StepDone:
    proto = event.step_done
    return StepDone(epoch=_epoch(proto, "step_done"), step=count(proto.step, "step_done.step", STEPS_MAX))


def _beat_from_proto(event: session_pb2.AgentEvent) -> BeatDone:
    return BeatDone(report=beat_report_from_proto(event.beat_done, "beat_done"))


def _preview_from_proto(event: session_pb2.AgentEvent) -> PreviewMade:
    proto = event.preview_made
    return PreviewMade(
        epoch=_epoch(proto, "preview_made"),
        step=count(proto.step, "preview_made.step", STEPS_MAX),
        png=blob(proto.png, "preview_made.png", PREVIEW_BYTES_MAX),
    )


def _image_to_proto(event: ImageMade) -> session_pb2.ImageMade:
    return session_pb2.ImageMade(
        epoch=epoch_to_proto(event.epoch),
        offset=event.offset,
        data=event.data,
        last=event.last,
        decode_s=event.decode_s,
    )


def _image_from_proto(event: session_pb2.AgentEvent) -> ImageMade:
    proto = event.image_made
    return ImageMade(
        epoch=_epoch(proto, "image_made"),
        offset=count(proto.offset, "image_made.offset", BYTES_MAX),
        data=blob(proto.data, "image_made.data", PART_BYTES),
        last=proto.last,
        decode_s=seconds(proto.decode_s, "image_made.decode_s"),
    )


def _ended_to_proto(event: EpochEnded) -> session_pb2.EpochEnded:
    return session_pb2.EpochEnded(
        epoch=epoch_to_proto(event.epoch),
        outcome=EPOCH_OUTCOMES.to_proto(event.outcome),
        held_boundaries=event.held_boundaries,
        detail=event.detail,
        gang_intact=event.gang_intact,
        out_of_memory=event.out_of_memory,
        no_picture=event.no_picture,
    )


def _ended_from_proto(event: session_pb2.AgentEvent) -> EpochEnded:
    proto = event.epoch_ended
    return EpochEnded(
        epoch=_epoch(proto, "epoch_ended"),
        outcome=EPOCH_OUTCOMES.from_proto(proto.outcome, "epoch_ended.outcome"),
        held_boundaries=tuple(
            count(step, f"epoch_ended.held_boundaries[{index}]", STEPS_MAX)
            for index, step in enumerate(few(proto.held_boundaries, "epoch_ended.held_boundaries", HELD_BOUNDARIES_MAX))
        ),
        detail=told(proto.detail),
        gang_intact=proto.gang_intact,
        out_of_memory=proto.out_of_memory,
        no_picture=proto.no_picture,
    )


def _store_to_proto(event: StoreRequest) -> session_pb2.StoreRequest:
    return session_pb2.StoreRequest(
        gang=event.gang,
        request_id=event.request_id,
        operation=STORE_OPERATIONS.to_proto(event.operation),
        key=event.key,
        value=event.value,
        amount=event.amount,
    )


def _store_from_proto(event: session_pb2.AgentEvent) -> StoreRequest:
    proto = event.store_request
    return StoreRequest(
        gang=GangId(name(proto.gang, "store_request.gang")),
        request_id=proto.request_id,
        operation=STORE_OPERATIONS.from_proto(proto.operation, "store_request.operation"),
        key=label(proto.key, "store_request.key"),
        value=blob(proto.value, "store_request.value", VALUE_BYTES_MAX),
        amount=proto.amount,
    )


def _memory_from_proto(event: session_pb2.AgentEvent) -> MemoryRead:
    proto = event.memory_read
    return MemoryRead(
        usable_bytes=count(proto.usable_bytes, "memory_read.usable_bytes", BYTES_MAX),
        free_bytes=count(proto.free_bytes, "memory_read.free_bytes", BYTES_MAX),
    )


def _epoch(
    proto: session_pb2.EpochJoined
    | session_pb2.PartLoaded
    | session_pb2.StepDone
    | session_pb2.PreviewMade
    | session_pb2.ImageMade
    | session_pb2.EpochEnded,
    path: str,
) -> EpochId:
    return epoch_from_proto(part(proto, "epoch", proto.epoch, path), f"{path}.epoch")


_DECODERS: dict[str, Callable[[session_pb2.AgentEvent], AgentEvent]] = {
    "register": _register_from_proto,
    "worker_ready": _ready_from_proto,
    "worker_lost": _lost_from_proto,
    "heartbeat": _heartbeat_from_proto,
    "profile_measured": _profile_from_proto,
    "tokens_counted": _tokens_from_proto,
    "request_failed": _failed_from_proto,
    "epoch_joined": _joined_from_proto,
    "part_loaded": _loaded_from_proto,
    "step_done": _step_from_proto,
    "beat_done": _beat_from_proto,
    "preview_made": _preview_from_proto,
    "image_made": _image_from_proto,
    "epoch_ended": _ended_from_proto,
    "store_request": _store_from_proto,
    "memory_read": _memory_from_proto,
}
