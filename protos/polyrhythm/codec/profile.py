"""Profiles and links, to and from ``polyrhythm.v1``: as agents measure them, and as users are told of them."""

from __future__ import annotations

from typing import Any

from polyrhythm.codec.bounds import (
    BYTES_MAX,
    BYTES_PER_S_MAX,
    BYTES_PER_S_MIN,
    COUNT_MAX,
    SECONDS_PER_BYTE_MAX,
    SIDE_PX_MAX,
    TRAFFIC_BYTES_MAX,
    count,
    finite,
    label,
    name,
    positive_seconds,
    seconds,
    within,
)
from polyrhythm.codec.mapping import Few, Mapped, Optional
from polyrhythm.codec.model import MODEL_PARTS
from polyrhythm.model.facts import ModelPart
from polyrhythm.plan.profile import JITTER_MAX, ForwardLine, Link, PeakMemory, Profile, Workload
from polyrhythm.v1 import profile_pb2

WORKLOAD = Mapped(
    Workload,
    profile_pb2.Workload,
    model=name,
    width_px=count(SIDE_PX_MAX),
    height_px=count(SIDE_PX_MAX),
    batch=count(COUNT_MAX),
)
LINK = Mapped(
    Link,
    profile_pb2.Link,
    latency_s=seconds,
    bytes_per_s=within(BYTES_PER_S_MIN, BYTES_PER_S_MAX),
    handling_s=seconds,
    handling_s_per_byte=within(0.0, SECONDS_PER_BYTE_MAX),
)
_COMMON: dict[str, Any] = {
    "agent": name,
    "workload": WORKLOAD,
    "samples": count(COUNT_MAX),
    "memory": Optional(
        Mapped(
            PeakMemory,
            profile_pb2.PeakMemory,
            forward_fixed_bytes=count(BYTES_MAX),
            forward_row_bytes=count(TRAFFIC_BYTES_MAX),
            decode_bytes=count(BYTES_MAX),
            encode_bytes=count(BYTES_MAX),
        )
    ),
    "no_room": Few(len(ModelPart), MODEL_PARTS),
    "alone": Optional(Mapped(ForwardLine, profile_pb2.ForwardLine, fixed_s=finite, per_row_s=finite)),
    "jitter": within(0.0, JITTER_MAX),
    "measured_rows": count(COUNT_MAX),
    "host": label,
}


def _check_measured(proto: profile_pb2.Profile) -> None:
    if proto.HasField("alone") or proto.host or proto.in_company:
        raise ValueError("alone, host and in_company are for the coordinator to say")


MEASURED_PROFILE = Mapped(
    Profile,
    profile_pb2.Profile,
    before=_check_measured,
    fixed_s=seconds,
    per_row_s=positive_seconds,
    encode_s=seconds,
    decode_s=seconds,
    loading_s=seconds,
    **_COMMON,
)
"""By an agent."""
PROFILE = Mapped(
    Profile,
    profile_pb2.Profile,
    fixed_s=finite,
    per_row_s=finite,
    encode_s=finite,
    decode_s=finite,
    loading_s=finite,
    **_COMMON,
)
"""As plans see it: scaled by what the coordinator has seen since."""
