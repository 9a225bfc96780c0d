"""No message, whatever is in it, holds the coordinator's event loop for more than 20 ms.

The worst that fits a message is made by hand, list by list; generated ones come from a grammar of wire bytes. What is
measured is CPU time of this thread, the shortest of several runs: other processes on the machine are not in it.
"""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable
from contextlib import suppress
from time import thread_time
from typing import Any, cast

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from polyrhythm.agent.v1 import epoch_pb2, events_pb2, session_pb2
from polyrhythm.codec.bounds import (
    MEMBERS_MAX,
    REQUEST_ASSIGNMENTS_MAX,
    REQUEST_BYTES_MAX,
    SEGMENTS_MAX,
)
from polyrhythm.codec.events import AGENT_EVENT, events_of
from polyrhythm.codec.image import image_request_from_proto
from polyrhythm.codec.model import MODEL
from polyrhythm.codec.plan import PLAN
from polyrhythm.errors import PolyrhythmError
from polyrhythm.job.request_checks import check_request
from polyrhythm.model.calibration import DISTURBANCES_MAX, PICTURES_MAX
from polyrhythm.v1 import image_pb2, image_service_pb2, model_pb2, plan_pb2
from tests.checks.loop_holds import HOLD_S_MAX, RUNS, slowness
from tests.fakes.model import FACTS
from tests.values.plans import exact_plan


def from_client(message: bytes) -> None:
    """What the loop does with a client's message before the core sees it."""
    check_request(image_request_from_proto(image_service_pb2.GenerateRequest.FromString(message).image))


def from_agent(message: bytes) -> None:
    """What the loop does with an agent's message in one go; there are turns for others between any two events."""
    request = session_pb2.SessionRequest.FromString(message)
    for event in events_of(request)[:1]:
        AGENT_EVENT.from_proto(event)


def held_s(take: Callable[[bytes], None], message: bytes) -> float:
    """Shortest CPU seconds of taking a message or refusing it."""
    found: list[float] = []
    gc.disable()
    try:
        for _ in range(RUNS):
            begin_s = thread_time()
            with suppress(PolyrhythmError, DecodeError):
                take(message)
            found.append(thread_time() - begin_s)
            if found[-1] < HOLD_S_MAX / 2:
                break
    finally:
        gc.enable()
    return min(found)


def wide_plan(members: int, segments: int) -> plan_pb2.Plan:
    """The largest that is taken: everybody holds a row, and all segments differ by nothing but their steps."""
    one = PLAN.to_proto(exact_plan(1, (1,) * members))
    plan = plan_pb2.Plan(version=1, steps=segments, encoder=one.encoder, decoder=one.decoder)
    for step in range(segments):
        segment = plan.segments.add()
        segment.CopyFrom(one.segments[0])
        segment.begin_step, segment.end_step = step, step + 1
    return plan


def prime_strides(count: int) -> plan_pb2.Plan:
    """Least common multiples of these take seconds."""
    primes = [3]
    while len(primes) < count:
        primes.append(primes[-1] + 2)
    rows = [plan_pb2.RowRange(begin=row, end=row + 1) for row in range(count)]
    assignments = [
        plan_pb2.Assignment(agent=f"a{row}", rows=rows[row], stride=stride) for row, stride in enumerate(primes)
    ]
    return plan_pb2.Plan(
        segments=[
            plan_pb2.Segment(end_step=1, beat_steps=1, exchange=plan_pb2.EXCHANGE_SYNCHRONOUS, assignments=assignments)
        ]
    )


def client_message(**values: Any) -> bytes:
    image = image_pb2.ImageRequest(prompt="p")
    image.MergeFrom(image_pb2.ImageRequest(**values))
    return image_service_pb2.GenerateRequest(image=image).SerializeToString()


def event_message(**values: Any) -> bytes:
    return session_pb2.SessionRequest(events=[session_pb2.AgentEvent(**values)]).SerializeToString()


def beat_message(**values: Any) -> bytes:
    report = events_pb2.BeatReport(epoch=EPOCH, **values)
    return event_message(beat_done=events_pb2.BeatDone(report=report))


def facts_of(**values: Any) -> events_pb2.WorkerReady:
    model = MODEL.to_proto(FACTS)
    model.MergeFrom(model_pb2.Model(**values))
    return events_pb2.WorkerReady(models=[model])


def calibration() -> model_pb2.Calibration:
    size = 216
    assert size <= DISTURBANCES_MAX
    return model_pb2.Calibration(
        sampler="SAMPLER_DDIM",
        steps=250,
        latent_range=1,
        stale_begin_steps=range(size - 2),
        merge_steps=[1],
        unequal_begin_steps=[1],
        products=[1.0] * size**2,
        row_weights=[1.0],
        saturation_mse=1,
        touchiness=[1.0] * 4 * PICTURES_MAX,
        width_px=512,
        height_px=512,
    )


EPOCH = epoch_pb2.EpochId()
CORRECTION = events_pb2.Correction(layer="up_blocks.0.attentions.0.to_q", kind=events_pb2.CORRECTION_KIND_ELEMENT)
WORST: dict[str, tuple[Callable[[bytes], None], Callable[[], bytes]]] = {
    "the largest plan that is taken": (
        from_client,
        lambda: client_message(plan=wide_plan(MEMBERS_MAX, REQUEST_ASSIGNMENTS_MAX // MEMBERS_MAX)),
    ),
    "a long plan": (
        from_client,
        lambda: client_message(plan=wide_plan(REQUEST_ASSIGNMENTS_MAX // SEGMENTS_MAX, SEGMENTS_MAX)),
    ),
    "prime strides": (from_client, lambda: client_message(plan=prime_strides(20_000))),
    "empty segments": (
        from_client,
        lambda: client_message(plan=plan_pb2.Plan(segments=[plan_pb2.Segment()] * 200_000)),
    ),
    "a long prompt": (from_client, lambda: client_message(prompt="ä" * 200_000)),
    "many devices": (
        from_client,
        lambda: client_message(overrides=image_pb2.PlanOverrides(devices=[f"{n}" for n in range(70_000)])),
    ),
    "many steps": (
        from_agent,
        lambda: beat_message(step_s=[1e-9] * 60_000),
    ),
    "many corrections": (
        from_agent,
        lambda: event_message(
            beat_done={"report": events_pb2.BeatReport(epoch=EPOCH, corrections=[CORRECTION] * 4000)}
        ),
    ),
    "many models": (
        from_agent,
        lambda: event_message(worker_ready=events_pb2.WorkerReady(models=[MODEL.to_proto(FACTS)] * 3000)),
    ),
    "many layers": (
        from_agent,
        lambda: event_message(worker_ready=facts_of(exchanged=[MODEL.to_proto(FACTS).exchanged[0]] * 510)),
    ),
    "a large calibration": (from_agent, lambda: event_message(worker_ready=facts_of(calibrations=[calibration()]))),
    "many links": (
        from_agent,
        lambda: event_message(
            epoch_joined=events_pb2.EpochJoined(
                epoch=EPOCH, links=[events_pb2.PeerLink(peer=f"{n}", link={"bytes_per_s": 1}) for n in range(20_000)]
            )
        ),
    ),
    "many counts": (from_agent, lambda: event_message(tokens_counted=events_pb2.TokensCounted(counts=[1] * 500_000))),
    "many events": (
        from_agent,
        lambda: session_pb2.SessionRequest(events=[session_pb2.AgentEvent()] * 200_000).SerializeToString(),
    ),
    "a part of a picture": (
        from_agent,
        lambda: event_message(image_made=events_pb2.ImageMade(epoch=EPOCH, data=bytes(500_000))),
    ),
}


@pytest.mark.parametrize(("take", "made"), WORST.values(), ids=WORST.keys())
def test_the_worst_of_messages_holds_the_loop_for_a_moment_only(
    take: Callable[[bytes], None], made: Callable[[], bytes]
) -> None:
    message = made()
    assert len(message) <= REQUEST_BYTES_MAX
    assert held_s(take, message) < HOLD_S_MAX * slowness()


NUMBERS = (0, 1, 2, 3, 2**31 - 1, 2**63 - 1, 2**64 - 1)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def wire_bytes(draw: st.DrawFn, kind: Any, depth: int) -> bytes:
    """Bytes of a message of some kind: any fields, lists of any length, any values."""
    out = b""
    for field in draw(st.lists(st.sampled_from(tuple(kind.fields)), max_size=4)):
        once = encoded(draw, field, depth)
        times = draw(st.sampled_from((1, 1, 2, 100, 20_000, 500_000)))
        out += once * min(times, (REQUEST_BYTES_MAX - 64 - len(out)) // len(once))
    return out


def encoded(draw: st.DrawFn, field: Any, depth: int) -> bytes:
    kinds = FieldDescriptor
    match field.type:
        case kinds.TYPE_MESSAGE:
            inner = wire_bytes(draw, field.message_type, depth - 1) if depth else b""
            return varint(field.number << 3 | 2) + varint(len(inner)) + inner
        case kinds.TYPE_STRING | kinds.TYPE_BYTES:
            inner = draw(st.sampled_from((b"", b"a", b"long" * 1000)))
            return varint(field.number << 3 | 2) + varint(len(inner)) + inner
        case kinds.TYPE_DOUBLE:
            return varint(field.number << 3 | 1) + struct.pack("<d", draw(st.floats()))
        case _:
            return varint(field.number << 3) + varint(draw(st.sampled_from(NUMBERS)))


KINDS: tuple[tuple[type[Message], Callable[[bytes], None]], ...] = (
    (image_service_pb2.GenerateRequest, from_client),
    (session_pb2.SessionRequest, from_agent),
)


@pytest.mark.parametrize(("kind", "take"), KINDS, ids=["client", "agent"])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_generated_message_holds_the_loop_for_more(
    kind: type[Message], take: Callable[[bytes], None], data: st.DataObject
) -> None:
    message = wire_bytes(cast("st.DrawFn", data.draw), kind.DESCRIPTOR, 5)
    assume(len(message) <= REQUEST_BYTES_MAX)
    assert held_s(take, message) < HOLD_S_MAX * slowness()
