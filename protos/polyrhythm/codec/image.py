"""Requests for pictures, to and from protobuf: as users write them, and with all defaults filled in.

The first lie in ``polyrhythm.v1``, the second in ``polyrhythm.agent.v1``.
A field of a user's request that means nothing is the user's error (InvalidArgumentError); in a message between our own
processes it is a WireError.
"""

from __future__ import annotations

from polyrhythm.agent.v1 import session_pb2
from polyrhythm.codec.bounds import MEMBERS_MAX, REQUEST_ASSIGNMENTS_MAX, SEGMENTS_MAX, count, few, finite, label, name
from polyrhythm.codec.fields import EnumTable, FieldError
from polyrhythm.codec.plan import plan_from_proto, plan_to_proto
from polyrhythm.errors import FieldViolation, InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import (
    TEXT_WINDOWS_MAX,
    ImageRequest,
    ImageSpec,
    LongPrompt,
    Objective,
    Overrides,
    Quality,
    Sampler,
)
from polyrhythm.plan.plan import Plan
from polyrhythm.process.printable import is_carried
from polyrhythm.v1 import image_pb2, plan_pb2

SAMPLERS = EnumTable(
    Sampler,
    {
        Sampler.DDIM: image_pb2.SAMPLER_DDIM,
        Sampler.DPM_SOLVER_PP_2M: image_pb2.SAMPLER_DPM_SOLVER_PP_2M,
        Sampler.EULER: image_pb2.SAMPLER_EULER,
        Sampler.EULER_ANCESTRAL: image_pb2.SAMPLER_EULER_ANCESTRAL,
        Sampler.FLOW_EULER: image_pb2.SAMPLER_FLOW_EULER,
        Sampler.LCM: image_pb2.SAMPLER_LCM,
        Sampler.TCD: image_pb2.SAMPLER_TCD,
    },
)
QUALITIES = EnumTable(
    Quality,
    {
        Quality.EXACT: image_pb2.QUALITY_EXACT,
        Quality.HIGH: image_pb2.QUALITY_HIGH,
        Quality.BALANCED: image_pb2.QUALITY_BALANCED,
        Quality.FAST: image_pb2.QUALITY_FAST,
    },
)
OBJECTIVES = EnumTable(
    Objective,
    {
        Objective.LATENCY: image_pb2.OBJECTIVE_LATENCY,
        Objective.THROUGHPUT: image_pb2.OBJECTIVE_THROUGHPUT,
    },
)
_INT32 = range(-(2**31), 2**31)
_UINT64 = range(2**64)


LONG_PROMPTS = EnumTable(
    LongPrompt,
    {
        LongPrompt.REFUSE: image_pb2.LONG_PROMPT_REFUSE,
        LongPrompt.CUT: image_pb2.LONG_PROMPT_CUT,
        LongPrompt.CHUNK: image_pb2.LONG_PROMPT_CHUNK,
    },
)


def image_request_to_proto(request: ImageRequest) -> image_pb2.ImageRequest:
    """Encodes what a user asks for.

    Raises:
        InvalidArgumentError: a number does not fit its field.
    """
    _check_fits(request)
    return image_pb2.ImageRequest(
        model=request.model,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width_px=request.width_px,
        height_px=request.height_px,
        steps=request.steps,
        seed=request.seed,
        guidance=request.guidance,
        sampler=None if request.sampler is None else SAMPLERS.to_proto(request.sampler),
        quality=None if request.quality is None else QUALITIES.to_proto(request.quality),
        count=request.count,
        preview_every_steps=request.preview_every_steps,
        plan=None if request.plan is None else plan_to_proto(request.plan),
        overrides=overrides_to_proto(request.overrides),
        objective=None if request.objective is None else OBJECTIVES.to_proto(request.objective),
        long_prompt=None if request.long_prompt is None else LONG_PROMPTS.to_proto(request.long_prompt),
    )


def image_request_from_proto(proto: image_pb2.ImageRequest) -> ImageRequest:
    """Decodes what a user asks for.

    Raises:
        InvalidArgumentError: names the field that means nothing, as the user wrote it.
    """
    try:
        return _image_request_from_proto(proto)
    except FieldError as error:
        raise InvalidArgumentError.of(error.field, error.description) from error


def image_spec_to_proto(image: ImageSpec) -> session_pb2.ImageSpec:
    """Encodes one picture with all defaults filled in."""
    return session_pb2.ImageSpec(
        model=image.model,
        prompt=image.prompt,
        negative_prompt=image.negative_prompt,
        width_px=image.width_px,
        height_px=image.height_px,
        steps=image.steps,
        seed=image.seed,
        guidance=image.guidance,
        sampler=SAMPLERS.to_proto(image.sampler),
        quality=QUALITIES.to_proto(image.quality),
        preview_every_steps=image.preview_every_steps,
        overrides=overrides_to_proto(image.overrides),
        objective=OBJECTIVES.to_proto(image.objective),
        long_prompt=LONG_PROMPTS.to_proto(image.long_prompt),
        text_windows=image.text_windows,
    )


def image_spec_from_proto(proto: session_pb2.ImageSpec, path: str = "image") -> ImageSpec:
    """Decodes one picture with all defaults filled in.

    Raises:
        WireError: a field means nothing.
    """
    return ImageSpec(
        model=name(proto.model, f"{path}.model"),
        prompt=proto.prompt,
        negative_prompt=proto.negative_prompt,
        width_px=proto.width_px,
        height_px=proto.height_px,
        steps=proto.steps,
        seed=proto.seed,
        guidance=finite(proto.guidance, f"{path}.guidance"),
        sampler=SAMPLERS.from_proto(proto.sampler, f"{path}.sampler"),
        quality=QUALITIES.from_proto(proto.quality, f"{path}.quality"),
        preview_every_steps=proto.preview_every_steps,
        overrides=overrides_from_proto(proto.overrides),
        objective=OBJECTIVES.from_proto(proto.objective, f"{path}.objective"),
        long_prompt=LONG_PROMPTS.from_proto(proto.long_prompt, f"{path}.long_prompt"),
        text_windows=count(proto.text_windows, f"{path}.text_windows", TEXT_WINDOWS_MAX, least=1),
    )


def overrides_to_proto(overrides: Overrides) -> image_pb2.PlanOverrides | None:
    """Encodes what an expert decides; nothing where that is nothing."""
    if overrides == Overrides():
        return None
    return image_pb2.PlanOverrides(
        max_stride=overrides.max_stride,
        warmup_steps=overrides.warmup_steps,
        tail_steps=overrides.tail_steps,
        loss_db=overrides.loss_db,
        devices=overrides.devices,
    )


def overrides_from_proto(proto: image_pb2.PlanOverrides) -> Overrides:
    """Decodes what an expert decides; its values are checked with the request.

    Raises:
        WireError: it names more devices than there are, or one by too long a name.
    """
    return Overrides(
        max_stride=proto.max_stride if proto.HasField("max_stride") else None,
        warmup_steps=proto.warmup_steps if proto.HasField("warmup_steps") else None,
        tail_steps=proto.tail_steps if proto.HasField("tail_steps") else None,
        loss_db=finite(proto.loss_db, "loss_db") if proto.HasField("loss_db") else None,
        devices=tuple(
            AgentId(label(device, f"devices[{index}]"))
            for index, device in enumerate(few(proto.devices, "devices", MEMBERS_MAX))
        ),
    )


def _image_request_from_proto(proto: image_pb2.ImageRequest) -> ImageRequest:
    if proto.WhichOneof("condition") is None:
        raise FieldError("prompt", "must be given: it is the only condition that this version understands")
    return ImageRequest(
        model=label(proto.model, "model"),
        prompt=proto.prompt,
        negative_prompt=proto.negative_prompt,
        width_px=proto.width_px if proto.HasField("width_px") else None,
        height_px=proto.height_px if proto.HasField("height_px") else None,
        steps=proto.steps if proto.HasField("steps") else None,
        seed=proto.seed if proto.HasField("seed") else None,
        guidance=finite(proto.guidance, "guidance") if proto.HasField("guidance") else None,
        # Here alone zero has a meaning of its own: the model's default sampler, the balanced policy, latency.
        sampler=SAMPLERS.from_proto(proto.sampler, "sampler") if proto.sampler else None,
        quality=QUALITIES.from_proto(proto.quality, "quality") if proto.quality else None,
        count=proto.count if proto.HasField("count") else 1,
        preview_every_steps=proto.preview_every_steps,
        plan=_plan_from_proto(proto.plan) if proto.HasField("plan") else None,
        overrides=overrides_from_proto(proto.overrides),
        objective=OBJECTIVES.from_proto(proto.objective, "objective") if proto.objective else None,
        long_prompt=LONG_PROMPTS.from_proto(proto.long_prompt, "long_prompt") if proto.long_prompt else None,
    )


def too_long_to_ask_for(plan: Plan) -> str:
    """Why a plan cannot be given with a request, in words; empty where it can."""
    segments, assignments = len(plan.segments), len(plan.segments) * len(plan.agents)
    if segments > SEGMENTS_MAX:
        return f"its plan has {segments} segments, and a request at most {SEGMENTS_MAX}"
    if assignments > REQUEST_ASSIGNMENTS_MAX:
        return f"its plan has {assignments} assignments of rows, and a request at most {REQUEST_ASSIGNMENTS_MAX}"
    return ""


def _plan_from_proto(proto: plan_pb2.Plan) -> Plan:
    """A plan that a user gives, which the coordinator's event loop has to decode: a small one."""
    assignments = sum(len(segment.assignments) for segment in few(proto.segments, "plan.segments", SEGMENTS_MAX))
    count(assignments, "plan.segments.assignments", REQUEST_ASSIGNMENTS_MAX)
    return plan_from_proto(proto, "plan")


def _check_fits(request: ImageRequest) -> None:
    values = (
        ("size", request.width_px, _INT32),
        ("size", request.height_px, _INT32),
        ("steps", request.steps, _INT32),
        ("seed", request.seed, _UINT64),
        ("count", request.count, _INT32),
        ("preview_every_steps", request.preview_every_steps, _INT32),
        ("max_stride", request.overrides.max_stride, _INT32),
        ("warmup", request.overrides.warmup_steps, _INT32),
        ("tail", request.overrides.tail_steps, _INT32),
    )
    texts = (
        ("model", request.model),
        ("prompt", request.prompt),
        ("negative", request.negative_prompt),
        *(("devices", device) for device in request.overrides.devices),
    )
    found = [
        FieldViolation(field=field, description="must be text that UTF-8 can carry")
        for field, text in texts
        if not is_carried(text)
    ]
    found += [
        FieldViolation(field=field, description=f"must be {bounds.start}..{bounds.stop - 1}, got {value}")
        for field, value, bounds in values
        if value is not None and value not in bounds
    ]
    if found:
        raise InvalidArgumentError(*found)
