"""Hypothesis strategies for the vocabulary that crosses process boundaries. Values are valid by construction.

The strategies of a union stand in the order of its members. What agents are told and tell is in ``message_strategies``.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from polyrhythm import fleet
from polyrhythm.codec.bounds import (
    BYTES_MAX,
    CONDITION_BYTES_MAX,
    LATENTS_BYTES_MAX,
    PIXELS_MAX,
    SECONDS_MAX,
    SECONDS_MIN,
    SIDE_PX_MAX,
    TRAFFIC_BYTES_MAX,
    UNIT_BYTES_MAX,
)
from polyrhythm.errors import FieldViolation
from polyrhythm.ids import AgentId, EpochId, JobId
from polyrhythm.job import events as job_events
from polyrhythm.job import image, reports
from polyrhythm.job.image import STEPS_MAX
from polyrhythm.model import calibration, exchanged_layers, facts
from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm.plan import explanation, plan, profile
from polyrhythm.plan.rows import RowRange, ranges_from_counts

int32s = st.integers(0, 2**31 - 1)
int64s = st.integers(0, 2**63 - 1)
uint64s = st.integers(0, 2**64 - 1)
positive_int32s = st.integers(1, 2**31 - 1)
# Lone surrogates are no text: protobuf refuses them, and so does every terminal.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
seconds = st.just(0.0) | st.floats(SECONDS_MIN, SECONDS_MAX)
sizes = st.integers(0, BYTES_MAX)
unit_bytes = st.integers(0, UNIT_BYTES_MAX)
pixels = st.integers(0, PIXELS_MAX)
steps = st.integers(0, STEPS_MAX)
sides = st.integers(1, SIDE_PX_MAX)
blobs = st.binary(max_size=64)
agents = names.map(AgentId)
violations = st.builds(FieldViolation, field=names, description=texts)
epochs = st.builds(EpochId, incarnation=int64s, counter=int64s)
software = st.lists(st.builds(facts.SoftwareVersion, name=texts, version=texts), max_size=3).map(tuple)
samplers = st.sampled_from(Sampler)
long_prompts = st.sampled_from(LongPrompt)


def tuples(inner: st.SearchStrategy, size: int = 3) -> st.SearchStrategy:
    return st.lists(inner, max_size=size).map(tuple)


@st.composite
def segments(
    draw: st.DrawFn,
    begin_step: int = 0,
    members: tuple[AgentId, ...] = (),
    row_count: int = 0,
    synchronous: bool = False,
) -> plan.Segment:
    members = members or tuple(draw(st.lists(agents, min_size=1, max_size=4, unique=True)))
    row_count = row_count or draw(st.integers(1, 64))
    cuts = sorted(draw(st.lists(st.integers(0, row_count), min_size=len(members) - 1, max_size=len(members) - 1)))
    counts = [end - begin for begin, end in zip([0, *cuts], [*cuts, row_count], strict=True)]
    exchange = plan.Exchange.SYNCHRONOUS if synchronous else draw(st.sampled_from(plan.Exchange))
    strides = [1] if exchange is plan.Exchange.SYNCHRONOUS else [1, 2, 4]
    beat_steps = 4 * draw(st.integers(1, 3))
    return plan.Segment(
        begin_step=begin_step,
        end_step=begin_step + beat_steps * draw(st.integers(1, 3)),
        beat_steps=beat_steps,
        exchange=exchange,
        assignments=tuple(
            plan.Assignment(agent=member, rows=rows, stride=draw(st.sampled_from(strides)))
            for member, rows in zip(members, ranges_from_counts(counts), strict=True)
        ),
    )


@st.composite
def plans(draw: st.DrawFn) -> plan.Plan:
    begin_step = draw(st.integers(0, 20))
    first = draw(segments(begin_step=begin_step, synchronous=True))
    parts = [first]
    for _ in range(draw(st.integers(0, 2))):
        parts.append(draw(segments(parts[-1].end_step, first.agents, first.row_count)))
    return plan.Plan(
        version=draw(st.integers(1, 9)),
        begin_step=begin_step,
        steps=parts[-1].end_step,
        segments=tuple(parts),
        encoder=draw(st.sampled_from(first.agents)),
        decoder=draw(st.sampled_from(first.agents)),
    )


predictions = st.builds(
    explanation.Prediction,
    encode_s=seconds,
    denoise_s=seconds,
    decode_s=seconds,
    agents=tuples(
        st.builds(
            explanation.AgentPrediction,
            agent=agents,
            busy_s=seconds,
            wait_s=seconds,
            sent_bytes=int64s,
            memory_bytes=int64s,
        )
    ),
    psnr_db=st.none() | st.floats(-20, 100),
    psnr_low_db=st.none() | st.floats(-20, 100),
)
candidates = st.builds(explanation.Candidate, label=texts, plan=plans(), prediction=predictions)
workloads = st.builds(profile.Workload, model=names, width_px=sides, height_px=sides, batch=int32s)
peak_memories = st.builds(
    profile.PeakMemory,
    forward_fixed_bytes=sizes,
    forward_row_bytes=st.integers(0, TRAFFIC_BYTES_MAX),
    decode_bytes=sizes,
    encode_bytes=sizes,
)
model_parts = st.sampled_from(facts.ModelPart)
profiles = st.builds(
    profile.Profile,
    agent=agents,
    workload=workloads,
    fixed_s=seconds,
    per_row_s=st.floats(1e-9, 10),
    encode_s=seconds,
    decode_s=seconds,
    samples=int32s,
    memory=st.none() | peak_memories,
    no_room=st.lists(model_parts, max_size=2, unique=True).map(tuple),
    loading_s=seconds,
    offloaded=st.booleans(),
    jitter=st.floats(0, 1),
    measured_rows=int32s,
)
told_profiles = st.builds(
    replace,
    profiles,
    alone=st.none() | st.builds(profile.ForwardLine, fixed_s=seconds, per_row_s=st.floats(1e-9, 10)),
    host=texts,
    in_company=st.booleans(),
)
measured_costs = st.builds(
    profile.Link,
    latency_s=seconds,
    bytes_per_s=st.floats(1, 1e12),
    handling_s=seconds,
    handling_s_per_byte=st.floats(0, 1),
)
explanations = st.builds(
    explanation.Explanation,
    chosen=candidates,
    runners_up=tuples(candidates, 2),
    exclusions=tuples(
        st.builds(
            explanation.Exclusion,
            agent=agents,
            reason=st.sampled_from(explanation.ExclusionReason),
            message=texts,
        )
    ),
    profiles=tuples(told_profiles, 2),
    links=tuples(st.builds(explanation.MeasuredLink, sender=agents, receiver=agents, link=measured_costs), 2),
    notices=tuples(texts),
    sharing=texts,
)
devices = st.builds(
    facts.DeviceFacts,
    uuid=names,
    name=texts,
    kind=st.sampled_from(facts.DeviceKind),
    memory_total_bytes=sizes,
    memory_free_bytes=sizes,
    driver=texts,
    emulated_speed=st.none() | st.floats(0, 1),
    memory_limit_bytes=st.none() | sizes,
    host=texts,
    kernel=texts,
)
model_memories = st.builds(
    facts.ModelMemory,
    denoiser_bytes=sizes,
    text_encoder_bytes=sizes,
    autoencoder_bytes=sizes,
    condition_bytes=st.integers(0, CONDITION_BYTES_MAX),
    own_token_bytes=unit_bytes,
    image_token_bytes=unit_bytes,
    decode_pixel_bytes=unit_bytes,
    tiled_above_pixels=pixels,
    tile_pixels=pixels,
    tiled_pixel_bytes=unit_bytes,
    encode_bytes=sizes,
    offloaded_bytes=sizes,
)
layer_groups = st.builds(
    exchanged_layers.LayerGroup,
    kind=st.sampled_from(exchanged_layers.LayerKind),
    layers=st.integers(1, 64),
    cell_px=sides,
    cell_bytes=st.integers(1, 64),
    rows_above=st.integers(0, 8),
    rows_below=st.integers(0, 8),
    guided=st.booleans(),
)


@st.composite
def calibrations(draw: st.DrawFn) -> calibration.Calibration:
    steps = draw(st.integers(2, 60))
    stale = sorted(draw(st.sets(st.integers(0, steps - 1), min_size=1, max_size=4)))
    merges = sorted(draw(st.sets(st.integers(0, steps - 2), min_size=1, max_size=4)))
    following = sorted(draw(st.sets(st.integers(2, steps - 2), max_size=4))) if steps >= 4 else []
    unequal = sorted(draw(st.sets(st.integers(0, steps - 2), min_size=1, max_size=4)))
    size = len(stale) + len(merges) + len(following) + len(unequal)
    seconds = draw(st.lists(st.floats(-10, 10), min_size=size, max_size=size))  # vectors of two values each
    return calibration.Calibration(
        sampler=draw(samplers),
        steps=steps,
        latent_range=draw(st.floats(1e-3, 1e3)),
        stale_begin_steps=tuple(stale),
        merge_steps=tuple(merges),
        following_steps=tuple(following),
        unequal_begin_steps=tuple(unequal),
        products=tuple(1.0 + one * other for one in seconds for other in seconds),
        touchiness=tuple(draw(st.lists(st.floats(0.1, 10), min_size=calibration.KINDS, max_size=calibration.KINDS))),
        row_weights=tuple(draw(st.lists(st.floats(1e-3, 10), min_size=1, max_size=4))),
        saturation_mse=draw(st.floats(1e-6, 1e3)),
        seam_power=draw(st.floats(-1, 1)),
        width_px=draw(sides),
        height_px=draw(sides),
        guidance=draw(st.floats(0, 30)),
    )


models = st.builds(
    facts.ModelFacts,
    name=names,
    family=texts,
    fingerprint=texts,
    dtype=texts,
    samplers=st.lists(samplers, min_size=1, max_size=3).map(tuple),
    default_width_px=sides,
    default_height_px=sides,
    default_steps=st.integers(1, STEPS_MAX),
    default_guidance=st.floats(0, 100),
    pixel_multiple=sides,
    row_unit_px=sides,
    pixels_max=st.integers(1, PIXELS_MAX),
    token_limit=positive_int32s,
    exchanged=st.lists(layer_groups, min_size=1, max_size=3).map(tuple),
    token_px=sides,
    latent_bytes_per_token=st.integers(1, LATENTS_BYTES_MAX // PIXELS_MAX),
    weights_bytes=st.integers(1, BYTES_MAX),
    square_only=st.booleans(),
    full_rate_samplers=tuples(samplers),
    long_prompts=tuples(long_prompts),
    notices=tuples(texts),
    memory=st.none() | model_memories,
    calibrations=st.lists(calibrations(), max_size=2).map(tuple),
    calibrated=tuples(
        st.builds(calibration.CalibratedGrid, sampler=samplers, steps=steps, pictures=int32s),
    ),
    offloaded=st.booleans(),
    guidance_embedded=st.booleans(),
)
agent_views = st.builds(
    fleet.AgentView,
    name=agents,
    state=st.sampled_from(fleet.AgentState),
    device=devices,
    models=tuples(models),
    software=software,
    trouble=texts,
)
overrides = st.builds(
    image.Overrides,
    max_stride=st.none() | int32s,
    warmup_steps=st.none() | int32s,
    tail_steps=st.none() | int32s,
    loss_db=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    devices=tuples(agents),
)
image_requests = st.builds(
    image.ImageRequest,
    prompt=texts,
    model=texts,
    negative_prompt=texts,
    width_px=st.none() | int32s,
    height_px=st.none() | int32s,
    steps=st.none() | int32s,
    seed=st.none() | uint64s,
    guidance=st.none() | seconds,
    sampler=st.none() | samplers,
    quality=st.none() | st.sampled_from(image.Quality),
    count=int32s,
    preview_every_steps=int32s,
    plan=st.none() | plans(),
    overrides=overrides,
    objective=st.none() | st.sampled_from(image.Objective),
    long_prompt=st.none() | long_prompts,
)
image_specs = st.builds(
    image.ImageSpec,
    model=names,
    prompt=texts,
    negative_prompt=texts,
    width_px=int32s,
    height_px=int32s,
    steps=int32s,
    seed=uint64s,
    guidance=seconds,
    sampler=samplers,
    quality=st.sampled_from(image.Quality),
    preview_every_steps=int32s,
    overrides=overrides,
    objective=st.sampled_from(image.Objective),
    long_prompt=long_prompts,
    text_windows=st.integers(1, image.TEXT_WINDOWS_MAX),
)
rows_held = st.builds(
    reports.RowsHeld,
    begin_step=int32s,
    end_step=int32s,
    rows=st.builds(
        lambda begin, count: RowRange(begin=begin, end=begin + count), st.integers(0, 99), st.integers(0, 99)
    ),
    stride=int32s,
)
job_reports = st.builds(
    reports.JobReport,
    job=names.map(JobId),
    image_index=int32s,
    seed=uint64s,
    fingerprint=texts,
    plans=tuples(plans(), 2),
    agents=tuples(
        st.builds(
            reports.AgentUsage,
            agent=agents,
            device=devices,
            dtype=texts,
            software=software,
            rows=tuples(rows_held),
            steps=int32s,
            busy_s=seconds,
            wait_s=seconds,
            sent_bytes=int64s,
            corrections=int32s,
        )
    ),
    encode_s=seconds,
    denoise_s=seconds,
    decode_s=seconds,
    queued_s=seconds,
    predicted_denoise_s=seconds,
)
job_event_values: tuple[st.SearchStrategy[job_events.JobEvent], ...] = (
    st.builds(job_events.JobAccepted, job=names.map(JobId), image=image_specs, fingerprint=texts),
    st.builds(job_events.JobQueued, position=int32s),
    st.builds(job_events.JobDelayed, reason=texts),
    st.builds(
        job_events.ProfilingProgressed,
        agents=tuples(agents),
        width_px=int32s,
        height_px=int32s,
        done=int32s,
        total=int32s,
    ),
    st.builds(job_events.ImagePlanned, image_index=int32s, explanation=explanations),
    st.builds(
        job_events.ImageProgressed, image_index=int32s, step=int32s, steps=int32s, left_s=seconds, agents=tuples(agents)
    ),
    st.builds(job_events.ModelPartLoaded, image_index=int32s, agent=agents, part=model_parts, loading_s=seconds),
    st.builds(job_events.AgentFailed, agent=agents, reason=texts),
    st.builds(
        job_events.ImageReplanned,
        image_index=int32s,
        reason=st.sampled_from(job_events.ReplanReason),
        begin_step=int32s,
        plan=plans(),
    ),
    st.builds(job_events.ImageCompleted, report=job_reports),
    st.builds(job_events.ImagePreviewed, image_index=int32s, step=int32s, png=blobs),
    st.builds(job_events.ImageChunk, image_index=int32s, offset=int64s, data=blobs, last=st.booleans()),
)
