"""Commands to agents, to and from ``polyrhythm.agent.v1.SessionResponse``."""

from __future__ import annotations

from typing import assert_never

from polyrhythm.agent.v1 import session_pb2
from polyrhythm.codec.bounds import MEMBERS_MAX, TEXTS_MAX, few, finite, name, told
from polyrhythm.codec.fields import FieldError, part
from polyrhythm.codec.image import LONG_PROMPTS, SAMPLERS, image_spec_from_proto, image_spec_to_proto
from polyrhythm.codec.plan import segment_to_proto, segments_from_proto
from polyrhythm.codec.session_parts import epoch_from_proto, epoch_to_proto, workload_from_proto, workload_to_proto
from polyrhythm.ids import AgentId, GangId, JobId
from polyrhythm.session.messages import (
    AbortEpoch,
    AgentCommand,
    CancelEpoch,
    CountTokens,
    ExtendPlan,
    ForgetJob,
    MeasureProfile,
    StartEpoch,
    StopMeasuring,
    Welcome,
)
from polyrhythm.session.rendezvous import StoreReply


def command_to_proto(command: AgentCommand) -> session_pb2.SessionResponse:  # noqa: PLR0911 - one return a command
    """Encodes a command."""
    response = session_pb2.SessionResponse
    match command:
        case Welcome(incarnation=incarnation, heartbeat_interval_s=interval_s):
            welcome = session_pb2.Welcome(incarnation=incarnation, heartbeat_interval_s=interval_s)
            return response(welcome=welcome)
        case MeasureProfile(request_id=request_id, workload=workload, together=together, seconds=seconds):
            measure = session_pb2.MeasureProfile(
                request_id=request_id, workload=workload_to_proto(workload), together=together, seconds=seconds
            )
            return response(measure_profile=measure)
        case StopMeasuring(request_id=request_id):
            return response(stop_measuring=session_pb2.StopMeasuring(request_id=request_id))
        case CountTokens():
            return response(count_tokens=_count_to_proto(command))
        case StartEpoch():
            return response(start_epoch=_start_to_proto(command))
        case ExtendPlan():
            return response(extend_plan=_extend_to_proto(command))
        case CancelEpoch(epoch=epoch):
            return response(cancel_epoch=session_pb2.CancelEpoch(epoch=epoch_to_proto(epoch)))
        case AbortEpoch(epoch=epoch, reason=reason):
            return response(abort_epoch=session_pb2.AbortEpoch(epoch=epoch_to_proto(epoch), reason=reason))
        case ForgetJob(job=job):
            return response(forget_job=session_pb2.ForgetJob(job=job))
        case StoreReply(request_id=request_id, value=value, found=found):
            return response(store_reply=session_pb2.StoreReply(request_id=request_id, value=value, found=found))
        case _:
            assert_never(command)


def command_from_proto(proto: session_pb2.SessionResponse) -> AgentCommand:  # noqa: PLR0911 - one return a command
    """Decodes a command.

    Raises:
        WireError: the command is not known here, or a field of it means nothing.
    """
    match proto.WhichOneof("command"):
        case "welcome":
            interval_s = finite(proto.welcome.heartbeat_interval_s, "welcome.heartbeat_interval_s")
            return Welcome(incarnation=proto.welcome.incarnation, heartbeat_interval_s=interval_s)
        case "measure_profile":
            measure = proto.measure_profile
            workload = part(measure, "workload", measure.workload, "measure_profile")
            return MeasureProfile(
                request_id=measure.request_id,
                workload=workload_from_proto(workload, "measure_profile.workload"),
                together=measure.together,
                seconds=finite(measure.seconds, "measure_profile.seconds"),
            )
        case "stop_measuring":
            return StopMeasuring(request_id=proto.stop_measuring.request_id)
        case "count_tokens":
            return _count_from_proto(proto.count_tokens)
        case "start_epoch":
            return _start_from_proto(proto.start_epoch)
        case "extend_plan":
            return _extend_from_proto(proto.extend_plan)
        case "cancel_epoch":
            epoch = part(proto.cancel_epoch, "epoch", proto.cancel_epoch.epoch, "cancel_epoch")
            return CancelEpoch(epoch=epoch_from_proto(epoch, "cancel_epoch.epoch"))
        case "abort_epoch":
            epoch = part(proto.abort_epoch, "epoch", proto.abort_epoch.epoch, "abort_epoch")
            return AbortEpoch(epoch=epoch_from_proto(epoch, "abort_epoch.epoch"), reason=told(proto.abort_epoch.reason))
        case "forget_job":
            return ForgetJob(job=JobId(name(proto.forget_job.job, "forget_job.job")))
        case "store_reply":
            reply = proto.store_reply
            return StoreReply(request_id=reply.request_id, value=reply.value, found=reply.found)
        case _:
            raise FieldError("command", "is not set, or is of a kind that this version does not know")


def _count_to_proto(command: CountTokens) -> session_pb2.CountTokens:
    return session_pb2.CountTokens(
        request_id=command.request_id,
        model=command.model,
        texts=command.texts,
        sampler=SAMPLERS.to_proto(command.sampler),
        steps=command.steps,
        long_prompt=LONG_PROMPTS.to_proto(command.long_prompt),
    )


def _count_from_proto(proto: session_pb2.CountTokens) -> CountTokens:
    return CountTokens(
        request_id=proto.request_id,
        model=name(proto.model, "count_tokens.model"),
        texts=tuple(few(proto.texts, "count_tokens.texts", TEXTS_MAX)),
        sampler=SAMPLERS.from_proto(proto.sampler, "count_tokens.sampler"),
        steps=proto.steps,
        long_prompt=LONG_PROMPTS.from_proto(proto.long_prompt, "count_tokens.long_prompt"),
    )


def _start_to_proto(command: StartEpoch) -> session_pb2.StartEpoch:
    return session_pb2.StartEpoch(
        epoch=epoch_to_proto(command.epoch),
        gang=command.gang,
        members=command.members,
        job=command.job,
        image=image_spec_to_proto(command.image),
        begin_step=command.begin_step,
        root=command.root,
        decoder=command.decoder,
        plan_version=command.plan_version,
        segments=[segment_to_proto(segment) for segment in command.segments],
        complete=command.complete,
        step_timeout_s=command.step_timeout_s,
        uninterruptible_s=command.uninterruptible_s,
        exchange_dtype=command.exchange_dtype,
        memory_need_bytes=command.memory_need_bytes,
    )


def _start_from_proto(proto: session_pb2.StartEpoch) -> StartEpoch:
    path = "start_epoch"
    return StartEpoch(
        epoch=epoch_from_proto(part(proto, "epoch", proto.epoch, path), f"{path}.epoch"),
        gang=GangId(name(proto.gang, f"{path}.gang")),
        members=tuple(
            AgentId(name(member, f"{path}.members[{index}]"))
            for index, member in enumerate(few(proto.members, f"{path}.members", MEMBERS_MAX))
        ),
        job=JobId(name(proto.job, f"{path}.job")),
        image=image_spec_from_proto(part(proto, "image", proto.image, path), f"{path}.image"),
        begin_step=proto.begin_step,
        root=AgentId(name(proto.root, f"{path}.root")),
        decoder=AgentId(name(proto.decoder, f"{path}.decoder")),
        plan_version=proto.plan_version,
        segments=segments_from_proto(proto.segments, f"{path}.segments"),
        complete=proto.complete,
        step_timeout_s=finite(proto.step_timeout_s, f"{path}.step_timeout_s"),
        uninterruptible_s=finite(proto.uninterruptible_s, f"{path}.uninterruptible_s"),
        exchange_dtype=name(proto.exchange_dtype, f"{path}.exchange_dtype"),
        memory_need_bytes=proto.memory_need_bytes,
    )


def _extend_to_proto(command: ExtendPlan) -> session_pb2.ExtendPlan:
    return session_pb2.ExtendPlan(
        epoch=epoch_to_proto(command.epoch),
        plan_version=command.plan_version,
        segments=[segment_to_proto(segment) for segment in command.segments],
        complete=command.complete,
        step_timeout_s=command.step_timeout_s,
        uninterruptible_s=command.uninterruptible_s,
        memory_need_bytes=command.memory_need_bytes,
    )


def _extend_from_proto(proto: session_pb2.ExtendPlan) -> ExtendPlan:
    path = "extend_plan"
    return ExtendPlan(
        epoch=epoch_from_proto(part(proto, "epoch", proto.epoch, path), f"{path}.epoch"),
        plan_version=proto.plan_version,
        segments=segments_from_proto(proto.segments, f"{path}.segments"),
        complete=proto.complete,
        step_timeout_s=finite(proto.step_timeout_s, f"{path}.step_timeout_s"),
        uninterruptible_s=finite(proto.uninterruptible_s, f"{path}.uninterruptible_s"),
        memory_need_bytes=proto.memory_need_bytes,
    )
