"""Commands to agents, to and from ``polyrhythm.agent.v1.SessionResponse``."""

from __future__ import annotations

from typing import Any

from polyrhythm.agent.v1 import commands_pb2, epoch_pb2, session_pb2
from polyrhythm.codec.bounds import MEMBERS_MAX, TEXTS_MAX, finite, name, told
from polyrhythm.codec.image import IMAGE_SPEC
from polyrhythm.codec.mapping import Few, Mapped, OneOf, trusted
from polyrhythm.codec.model import LONG_PROMPTS, SAMPLERS
from polyrhythm.codec.plan import SEGMENTS
from polyrhythm.codec.profile import WORKLOAD
from polyrhythm.ids import EpochId
from polyrhythm.session.commands import (
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

EPOCH = Mapped(EpochId, epoch_pb2.EpochId, incarnation=trusted, counter=trusted)
_SOME_OF_A_PLAN: dict[str, Any] = {
    "epoch": EPOCH,
    "plan_version": trusted,
    "segments": SEGMENTS,
    "step_timeout_s": finite,
    "uninterruptible_s": finite,
    "memory_need_bytes": trusted,
}
AGENT_COMMAND: OneOf[AgentCommand, session_pb2.SessionResponse] = OneOf(
    AgentCommand,
    session_pb2.SessionResponse,
    welcome=Mapped(Welcome, commands_pb2.Welcome, incarnation=trusted, heartbeat_interval_s=finite),
    measure_profile=Mapped(
        MeasureProfile, commands_pb2.MeasureProfile, request_id=trusted, workload=WORKLOAD, seconds=finite
    ),
    stop_measuring=Mapped(StopMeasuring, commands_pb2.StopMeasuring, request_id=trusted),
    count_tokens=Mapped(
        CountTokens,
        commands_pb2.CountTokens,
        request_id=trusted,
        model=name,
        texts=Few(TEXTS_MAX, trusted),
        sampler=SAMPLERS,
        steps=trusted,
        long_prompt=LONG_PROMPTS,
    ),
    start_epoch=Mapped(
        StartEpoch,
        commands_pb2.StartEpoch,
        gang=name,
        members=Few(MEMBERS_MAX, name),
        job=name,
        image=IMAGE_SPEC,
        begin_step=trusted,
        root=name,
        decoder=name,
        exchange_dtype=name,
        **_SOME_OF_A_PLAN,
    ),
    extend_plan=Mapped(ExtendPlan, commands_pb2.ExtendPlan, **_SOME_OF_A_PLAN),
    cancel_epoch=Mapped(CancelEpoch, commands_pb2.CancelEpoch, epoch=EPOCH),
    abort_epoch=Mapped(AbortEpoch, commands_pb2.AbortEpoch, epoch=EPOCH, reason=told),
    forget_job=Mapped(ForgetJob, commands_pb2.ForgetJob, job=name),
    store_reply=Mapped(StoreReply, commands_pb2.StoreReply, request_id=trusted, value=trusted),
)
