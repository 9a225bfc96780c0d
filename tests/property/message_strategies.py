"""Hypothesis strategies for every message between coordinator, daemon and worker. Values are valid by construction.

The strategies of a union stand in the order of its members.
"""

from __future__ import annotations

from hypothesis import strategies as st

from polyrhythm.codec.bounds import TRAFFIC_BYTES_MAX
from polyrhythm.ids import AgentId, GangId, JobId, LayerId
from polyrhythm.job import reports
from polyrhythm.session import commands as session_commands
from polyrhythm.session import events as session_events
from polyrhythm.session import rendezvous
from tests.property.codec_strategies import (
    agents,
    blobs,
    devices,
    epochs,
    image_specs,
    int32s,
    int64s,
    long_prompts,
    measured_costs,
    model_parts,
    models,
    names,
    profiles,
    samplers,
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
commands: tuple[st.SearchStrategy[session_commands.AgentCommand], ...] = (
    st.builds(session_commands.Welcome, incarnation=int64s, heartbeat_interval_s=seconds),
    st.builds(
        session_commands.MeasureProfile, request_id=int64s, workload=workloads, together=st.booleans(), seconds=seconds
    ),
    st.builds(session_commands.StopMeasuring, request_id=int64s),
    st.builds(
        session_commands.CountTokens,
        request_id=int64s,
        model=names,
        texts=tuples(texts),
        sampler=samplers,
        steps=int32s,
        long_prompt=long_prompts,
    ),
    st.builds(
        session_commands.StartEpoch,
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
        session_commands.ExtendPlan,
        epoch=epochs,
        plan_version=int32s,
        segments=tuples(segments(), 2),
        complete=st.booleans(),
        step_timeout_s=seconds,
        uninterruptible_s=seconds,
        memory_need_bytes=int64s,
    ),
    st.builds(session_commands.CancelEpoch, epoch=epochs),
    st.builds(session_commands.AbortEpoch, epoch=epochs, reason=texts),
    st.builds(session_commands.ForgetJob, job=names.map(JobId)),
    st.builds(rendezvous.StoreReply, request_id=int64s, value=blobs, found=st.booleans()),
)
links = st.builds(session_events.PeerLink, peer=agents, link=measured_costs)
corrections = st.builds(
    reports.Correction,
    step=steps,
    layer=names.map(LayerId),
    kind=st.sampled_from(reports.CorrectionKind),
    elements=int32s,
)
events: tuple[st.SearchStrategy[session_events.AgentEvent], ...] = (
    st.builds(session_events.Register, agent=agent_names, protocol_version=int32s, software=software, device=devices),
    st.builds(session_events.WorkerReady, models=tuples(models)),
    st.builds(session_events.WorkerLost, reason=texts),
    st.builds(session_events.Heartbeat, sequence=int64s),
    st.builds(session_events.ProfileMeasured, request_id=int64s, profile=profiles),
    st.builds(session_events.TokensCounted, request_id=int64s, counts=tuples(int32s), notices=tuples(texts)),
    st.builds(session_events.RequestFailed, request_id=int64s, message=texts, violations=tuples(violations)),
    st.builds(session_events.EpochJoined, epoch=epochs, encode_s=seconds, links=tuples(links)),
    st.builds(session_events.PartLoaded, epoch=epochs, part=model_parts, loading_s=seconds),
    st.builds(session_events.StepDone, epoch=epochs, step=steps),
    st.builds(
        session_events.BeatDone,
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
        session_events.EpochEnded,
        epoch=epochs,
        outcome=st.sampled_from(session_events.EpochOutcome),
        held_boundaries=tuples(steps, 2),
        message=texts,
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
    st.builds(session_events.MemoryRead, usable_bytes=sizes, free_bytes=sizes),
    st.builds(session_events.PreviewMade, epoch=epochs, step=steps, png=blobs),
    st.builds(session_events.ImageMade, epoch=epochs, offset=sizes, data=blobs, last=st.booleans(), decode_s=seconds),
)
