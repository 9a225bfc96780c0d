"""Pictures, to and from ``polyrhythm.v1``: as users ask for them, and with all defaults filled in.

A field of a user's request that means nothing is the user's error (InvalidArgumentError), named by its path from the
request of the RPC on; in a message between our own processes it is a WireError.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor

from polyrhythm.codec.bounds import (
    MEMBERS_MAX,
    REQUEST_ASSIGNMENTS_MAX,
    SEGMENTS_MAX,
    check_length,
    finite,
    label,
    name,
    size,
)
from polyrhythm.codec.fields import FieldError, at
from polyrhythm.codec.mapping import EnumTable, Few, Mapped, Optional, UnsetIsNone, trusted
from polyrhythm.codec.model import LONG_PROMPTS, SAMPLERS
from polyrhythm.codec.plan import PLAN
from polyrhythm.errors import FieldViolation, InvalidArgumentError
from polyrhythm.job.image import TEXT_WINDOWS_MAX, ImageRequest, ImageSpec, Objective, Overrides, Quality
from polyrhythm.job.request_checks import REQUEST
from polyrhythm.plan.plan import Plan
from polyrhythm.process.printable import is_carried
from polyrhythm.v1 import image_pb2

_RANGES = {
    FieldDescriptor.TYPE_INT32: range(-(2**31), 2**31),
    FieldDescriptor.TYPE_UINT64: range(2**64),
}
_QUALITIES = EnumTable(Quality, image_pb2.Quality)
_OBJECTIVES = EnumTable(Objective, image_pb2.Objective)
_OVERRIDES = Optional(
    Mapped(
        Overrides,
        image_pb2.PlanOverrides,
        max_stride=Optional(trusted),
        warmup_steps=Optional(trusted),
        tail_steps=Optional(trusted),
        loss_db=Optional(finite),
        devices=Few(MEMBERS_MAX, label),
    ),
    default=Overrides(),
)


def _check_plan_size(proto: image_pb2.ImageRequest) -> None:
    """The coordinator's event loop has to decode a plan that a user gives: a small one."""
    with at("plan.segments"):
        check_length(proto.plan.segments, SEGMENTS_MAX)
        assignments = sum(len(segment.assignments) for segment in proto.plan.segments)
        if assignments > REQUEST_ASSIGNMENTS_MAX:
            raise ValueError(f"must have at most {REQUEST_ASSIGNMENTS_MAX} assignments in all, got {assignments}")


# Values are checked with the request: whether they mean anything depends on one another, and on the model.
_IMAGE_REQUEST = Mapped(
    ImageRequest,
    image_pb2.ImageRequest,
    before=_check_plan_size,
    model=label,
    prompt=trusted,
    negative_prompt=trusted,
    width_px=Optional(trusted),
    height_px=Optional(trusted),
    steps=Optional(trusted),
    seed=Optional(trusted),
    guidance=Optional(finite),
    sampler=UnsetIsNone(SAMPLERS),
    quality=UnsetIsNone(_QUALITIES),
    count=Optional(trusted, default=1),
    preview_every_steps=trusted,
    plan=Optional(PLAN),
    overrides=_OVERRIDES,
    objective=UnsetIsNone(_OBJECTIVES),
    long_prompt=UnsetIsNone(LONG_PROMPTS),
)
IMAGE_SPEC = Mapped(
    ImageSpec,
    image_pb2.ImageSpec,
    model=name,
    prompt=trusted,
    negative_prompt=trusted,
    width_px=trusted,
    height_px=trusted,
    steps=trusted,
    seed=trusted,
    guidance=finite,
    sampler=SAMPLERS,
    quality=_QUALITIES,
    preview_every_steps=trusted,
    overrides=_OVERRIDES,
    objective=_OBJECTIVES,
    long_prompt=LONG_PROMPTS,
    text_windows=size(TEXT_WINDOWS_MAX),
)


def image_request_to_proto(request: ImageRequest) -> image_pb2.ImageRequest:
    """Encodes what a user asks for.

    Raises:
        InvalidArgumentError: a value does not fit its field.
    """
    unfit = tuple(_unfit(request, image_pb2.ImageRequest.DESCRIPTOR, REQUEST))
    if unfit:
        raise InvalidArgumentError(*unfit)
    return _IMAGE_REQUEST.to_proto(request)


def image_request_from_proto(proto: image_pb2.ImageRequest) -> ImageRequest:
    """Decodes what a user asks for.

    Raises:
        InvalidArgumentError: names the field that means nothing.
    """
    try:
        return _IMAGE_REQUEST.from_proto(proto, REQUEST)
    except FieldError as error:
        raise InvalidArgumentError.of(error.field, error.description) from error


def too_long_to_ask_for(plan: Plan) -> str:
    """Why a plan cannot be given with a request, in words; empty where it can."""
    segments, assignments = len(plan.segments), len(plan.segments) * len(plan.agents)
    if segments > SEGMENTS_MAX:
        return f"its plan has {segments} segments, and a request at most {SEGMENTS_MAX}"
    if assignments > REQUEST_ASSIGNMENTS_MAX:
        return f"its plan has {assignments} assignments of rows, and a request at most {REQUEST_ASSIGNMENTS_MAX}"
    return ""


def _unfit(value: Any, descriptor: Any, path: str) -> Iterator[FieldViolation]:
    """Numbers that their fields cannot hold and texts that UTF-8 cannot carry, in a value and all that it holds."""
    for field in descriptor.fields:
        held: Any = getattr(value, field.name)
        inner, entries = f"{path}.{field.name}", cast("tuple[Any, ...]", held if isinstance(held, tuple) else (held,))
        for entry in entries:
            allowed = _RANGES.get(field.type)
            if entry is None:
                continue
            if field.message_type is not None:
                yield from _unfit(entry, field.message_type, inner)
            elif allowed is not None and entry not in allowed:
                told = f"must be {allowed.start}..{allowed.stop - 1}, got {entry}"
                yield FieldViolation(field=inner, description=told)
            elif isinstance(entry, str) and not is_carried(entry):
                yield FieldViolation(field=inner, description="must be text that UTF-8 can carry")
