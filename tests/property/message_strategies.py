"""Hypothesis strategies for every message between coordinator, daemon and worker. Values are valid by construction.

The strategies of a union stand in the order of its members.
"""

from __future__ import annotations

from hypothesis import strategies as st

from polyrhythm.codec.bounds import TRAFFIC_BYTES_MAX
from polyrhythm.ids import AgentId, GangId, JobId, LayerId
from polyrhythm.job import image, reports
from polyrhythm.session import messages, rendezvous
from tests.property.codec_strategies import (
    agents,
    blobs,
    devices,
    epochs,
    image_specs,
    int32s,
    int64s,
    measured_costs,
    model_parts,
    models,
    names,
    profiles,
    seconds,
    segments,
    sizes,
    software,
    steps,
    texts,
    tuples,
    violations,
    workloads,
)

agent_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True).map(AgentId)
commands: tuple[st.SearchStrategy[messages.AgentCommand], ...] = (
    st.builds(messages.Welcome, incarnation=int64s, heartbeat_interval_s=seconds),
    st.builds(messages.MeasureProfile, request_id=int64s, workload=workloads, together=st.booleans(), seconds=seconds),
    st.builds(messages.StopMeasuring, request_id=int64s),
    st.builds(
        messages.CountTokens,
        request_id=int64s,
        model=names,
        texts=tuples(texts),
        sampler=st.sampled_from(image.Sampler),
        steps=int32s,
        long_prompt=st.sampled_from(image.LongPrompt),
    ),
    st.builds(
        messages.StartEpoch,
        epoch=epochs,
        gang=names.map(GangId),
        members=tuples(agents),
        job=names.map(JobId),
        image=image_specs,
        begin_step=int32s,
        root=agents,
        decoder=agents,
        plan_version=int32s,
        segments=tuples(segments(), 2),
        complete=st.booleans(),
        step_timeout_s=seconds,
        uninterruptible_s=seconds,
        exchange_dtype=names,
        memory_need_bytes=int64s,
    ),
    st.builds(
        messages.ExtendPlan,
        epoch=epochs,
        plan_version=int32s,
        segments=tuples(segments(), 2),
        complete=st.booleans(),
        step_timeout_s=seconds,
        uninterruptible_s=seconds,
        memory_need_bytes=int64s,
    ),
    st.builds(messages.CancelEpoch, epoch=epochs),
    st.builds(messages.AbortEpoch, epoch=epochs, reason=texts),
    st.builds(messages.ForgetJob, job=names.map(JobId)),
    st.builds(rendezvous.StoreReply, request_id=int64s, value=blobs, found=st.booleans()),
)
links = st.tuples(agents, measured_costs)
corrections = st.builds(
    reports.Correction,
    step=steps,
    layer=names.map(LayerId),
    kind=st.sampled_from(reports.CorrectionKind),
    elements=int32s,
)
events: tuple[st.SearchStrategy[messages.AgentEvent], ...] = (
    st.builds(messages.Register, agent=agent_names, protocol_version=int32s, software=software, device=devices),
    st.builds(messages.WorkerReady, models=tuples(models)),
    st.builds(messages.WorkerLost, reason=texts),
    st.builds(messages.Heartbeat, sequence=int64s),
    st.builds(messages.ProfileMeasured, request_id=int64s, profile=profiles),
    st.builds(messages.TokensCounted, request_id=int64s, counts=tuples(int32s), notices=tuples(texts)),
    st.builds(messages.RequestFailed, request_id=int64s, detail=texts, violations=tuples(violations)),
    st.builds(messages.EpochJoined, epoch=epochs, encode_s=seconds, links=tuples(links)),
    st.builds(messages.PartLoaded, epoch=epochs, part=model_parts, loading_s=seconds),
    st.builds(messages.StepDone, epoch=epochs, step=steps),
    st.builds(
        messages.BeatDone,
        report=st.builds(
            reports.BeatReport,
            epoch=epochs,
            boundary_step=steps,
            plan_version=int32s,
            active_steps=steps,
            busy_s=seconds,
            wait_s=seconds,
            sent_bytes=st.integers(0, TRAFFIC_BYTES_MAX),
            wall_s=seconds,
            last=st.booleans(),
            corrections=tuples(corrections),
            step_s=tuples(seconds),
            changed=st.booleans(),
        ),
    ),
    st.builds(
        messages.EpochEnded,
        epoch=epochs,
        outcome=st.sampled_from(messages.EpochOutcome),
        held_boundaries=tuples(steps, 2),
        detail=texts,
        gang_intact=st.booleans(),
        out_of_memory=st.booleans(),
    ),
    st.builds(
        rendezvous.StoreRequest,
        gang=names.map(GangId),
        request_id=int64s,
        operation=st.sampled_from(rendezvous.StoreOperation),
        key=texts,
        value=blobs,
        amount=int64s,
    ),
    st.builds(messages.MemoryRead, usable_bytes=sizes, free_bytes=sizes),
    st.builds(messages.PreviewMade, epoch=epochs, step=steps, png=blobs),
    st.builds(messages.ImageMade, epoch=epochs, offset=sizes, data=blobs, last=st.booleans(), decode_s=seconds),
)
