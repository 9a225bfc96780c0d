"""What a decoder refuses, and how it names the field."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import grpc
import pytest

from polyrhythm.agent.v1 import commands_pb2, epoch_pb2, events_pb2, session_pb2
from polyrhythm.codec.commands import AGENT_COMMAND
from polyrhythm.codec.device import DEVICE
from polyrhythm.codec.events import AGENT_EVENT
from polyrhythm.codec.fields import FieldError
from polyrhythm.codec.fleet import AGENT
from polyrhythm.codec.framing import FRAME_BYTES_MAX, FrameDecoder
from polyrhythm.codec.image import image_request_from_proto, image_request_to_proto
from polyrhythm.codec.job import JOB_EVENT
from polyrhythm.codec.model import MODEL
from polyrhythm.codec.plan import PLAN
from polyrhythm.codec.status import STATUS_CODES, error_from_status, error_to_status
from polyrhythm.errors import (
    ErrorCode,
    FieldViolation,
    InvalidArgumentError,
    NoAgentsError,
    NotFoundError,
    PolyrhythmError,
    UnreachableError,
    WireError,
)
from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageRequest, Overrides
from polyrhythm.v1 import device_pb2, fleet_pb2, image_pb2, image_service_pb2, job_pb2, model_pb2, plan_pb2, profile_pb2
from tests.fakes.model import FACTS

UNKNOWN: Any = 77
"""A value that no enum of this version has; proto3 passes it through."""
UNKNOWN_FIELD = b"\xf8\x07\x01"
"""Field 127, a number, as it is written."""


def segment(**changes: Any) -> plan_pb2.Segment:
    values: dict[str, Any] = {
        "begin_step": 0,
        "end_step": 4,
        "beat_steps": 1,
        "exchange": plan_pb2.EXCHANGE_SYNCHRONOUS,
        "assignments": [plan_pb2.Assignment(agent="a", rows=plan_pb2.RowRange(begin=0, end=8), stride=1)],
    }
    return plan_pb2.Segment(**(values | changes))


def plan(**changes: Any) -> plan_pb2.Plan:
    values: dict[str, Any] = {
        "version": 1,
        "begin_step": 0,
        "steps": 4,
        "segments": [segment()],
        "encoder": "a",
        "decoder": "a",
    }
    return plan_pb2.Plan(**(values | changes))


def test_the_base_is_valid() -> None:
    assert PLAN.from_proto(plan()).steps == 4


WIRE_REFUSALS: dict[str, tuple[Callable[[], object], str]] = {
    "unspecified exchange": (
        lambda: PLAN.from_proto(plan(segments=[segment(exchange=0)])),
        "plan.segments[0].exchange",
    ),
    "unknown exchange": (
        lambda: PLAN.from_proto(plan(segments=[segment(exchange=UNKNOWN)])),
        "plan.segments[0].exchange",
    ),
    "rows missing": (
        lambda: PLAN.from_proto(plan(segments=[segment(assignments=[plan_pb2.Assignment(agent="a", stride=1)])])),
        "plan.segments[0].assignments[0].rows",
    ),
    "rows backwards": (
        lambda: PLAN.from_proto(
            plan(
                segments=[
                    segment(
                        assignments=[plan_pb2.Assignment(agent="a", rows=plan_pb2.RowRange(begin=3, end=1), stride=1)]
                    )
                ]
            )
        ),
        "plan.segments[0].assignments[0].rows",
    ),
    "no assignments": (lambda: PLAN.from_proto(plan(segments=[segment(assignments=[])])), "plan.segments[0]"),
    "plan without segments": (lambda: PLAN.from_proto(plan(segments=[])), "plan"),
    "foreign encoder": (lambda: PLAN.from_proto(plan(encoder="b")), "plan"),
    "event not set": (lambda: AGENT_EVENT.from_proto(session_pb2.AgentEvent()), "event"),
    "command not set": (lambda: AGENT_COMMAND.from_proto(session_pb2.SessionResponse()), "command"),
    "job event not set": (lambda: JOB_EVENT.from_proto(image_service_pb2.GenerateResponse()), "event"),
    "outcome unknown": (
        lambda: AGENT_EVENT.from_proto(
            session_pb2.AgentEvent(
                epoch_ended=events_pb2.EpochEnded(
                    epoch=epoch_pb2.EpochId(),
                    outcome=UNKNOWN,
                )
            )
        ),
        "epoch_ended.outcome",
    ),
    "kind of correction unknown": (
        lambda: AGENT_EVENT.from_proto(
            session_pb2.AgentEvent(
                beat_done=events_pb2.BeatDone(
                    report=events_pb2.BeatReport(
                        epoch=epoch_pb2.EpochId(), corrections=[events_pb2.Correction(layer="block", kind=UNKNOWN)]
                    )
                )
            )
        ),
        "beat_done.report.corrections[0].kind",
    ),
    "store operation unspecified": (
        lambda: AGENT_EVENT.from_proto(session_pb2.AgentEvent(store_request=events_pb2.StoreRequest(gang="g"))),
        "store_request.operation",
    ),
    "epoch missing": (
        lambda: AGENT_COMMAND.from_proto(session_pb2.SessionResponse(cancel_epoch=commands_pb2.CancelEpoch())),
        "cancel_epoch.epoch",
    ),
    "epoch negative": (
        lambda: AGENT_COMMAND.from_proto(
            session_pb2.SessionResponse(cancel_epoch=commands_pb2.CancelEpoch(epoch=epoch_pb2.EpochId(counter=-1)))
        ),
        "cancel_epoch.epoch",
    ),
    "image missing": (
        lambda: AGENT_COMMAND.from_proto(
            session_pb2.SessionResponse(
                start_epoch=commands_pb2.StartEpoch(epoch=epoch_pb2.EpochId(), gang="g", job="j")
            )
        ),
        "start_epoch.image",
    ),
    "profile not positive": (
        lambda: AGENT_EVENT.from_proto(
            session_pb2.AgentEvent(
                profile_measured=events_pb2.ProfileMeasured(
                    profile=profile_pb2.Profile(agent="a", workload=profile_pb2.Workload(model="m"))
                )
            )
        ),
        "profile_measured.profile.per_row_s",
    ),
    "busy not finite": (
        lambda: AGENT_EVENT.from_proto(
            session_pb2.AgentEvent(
                beat_done=events_pb2.BeatDone(
                    report=events_pb2.BeatReport(epoch=epoch_pb2.EpochId(), busy_s=float("nan"))
                )
            )
        ),
        "beat_done.report.busy_s",
    ),
    "device kind unspecified": (lambda: DEVICE.from_proto(device_pb2.Device(uuid="u")), "device.kind"),
    "agent without device": (
        lambda: AGENT.from_proto(fleet_pb2.Agent(name="a", state=fleet_pb2.AGENT_STATE_READY)),
        "agent.device",
    ),
    "sampler unknown": (
        lambda: AGENT_EVENT.from_proto(
            session_pb2.AgentEvent(
                worker_ready=events_pb2.WorkerReady(
                    models=[model_pb2.Model(name="m", samplers=["SAMPLER_DDIM", UNKNOWN])]
                )
            )
        ),
        "worker_ready.models[0].samplers[1]",
    ),
    "a profile that says what is for the coordinator to say": (
        lambda: AGENT_EVENT.from_proto(
            session_pb2.AgentEvent(
                profile_measured=events_pb2.ProfileMeasured(profile=profile_pb2.Profile(agent="a", host="h"))
            )
        ),
        "profile_measured.profile",
    ),
    "replan reason unknown": (
        lambda: JOB_EVENT.from_proto(
            image_service_pb2.GenerateResponse(image_replanned=job_pb2.ImageReplanned(plan=plan()))
        ),
        "image_replanned.reason",
    ),
}


@pytest.mark.parametrize(("decode", "field"), WIRE_REFUSALS.values(), ids=WIRE_REFUSALS.keys())
def test_a_message_that_means_nothing_names_its_field(decode: Callable[[], object], field: str) -> None:
    with pytest.raises(WireError) as caught:
        decode()
    assert isinstance(caught.value, FieldError)
    assert caught.value.field == field


MODEL_COUNTS = (
    "default_width_px",
    "default_height_px",
    "default_steps",
    "pixel_multiple",
    "row_unit_px",
    "pixels_max",
    "token_limit",
    "token_px",
    "latent_bytes_per_token",
    "weights_bytes",
)


@pytest.mark.parametrize("count", [0, -8])
@pytest.mark.parametrize("field", MODEL_COUNTS)
def test_sizes_and_counts_of_a_model_are_positive(field: str, count: int) -> None:
    proto = MODEL.to_proto(FACTS)
    setattr(proto, field, count)
    with pytest.raises(FieldError) as caught:
        MODEL.from_proto(proto)
    assert caught.value.field == f"model.{field}"


def test_a_model_without_a_sampler_is_refused_when_its_worker_is_ready() -> None:
    proto = MODEL.to_proto(FACTS)
    proto.ClearField("samplers")
    with pytest.raises(FieldError) as caught:
        AGENT_EVENT.from_proto(session_pb2.AgentEvent(worker_ready=events_pb2.WorkerReady(models=[proto])))
    assert caught.value.field == "worker_ready.models[0].samplers"


REQUEST_REFUSALS: dict[str, tuple[image_pb2.ImageRequest, str]] = {
    "no condition": (image_pb2.ImageRequest(), "image.prompt"),
    "unknown sampler": (image_pb2.ImageRequest(prompt="p", sampler=UNKNOWN), "image.sampler"),
    "unknown quality": (image_pb2.ImageRequest(prompt="p", quality=UNKNOWN), "image.quality"),
    "guidance not finite": (image_pb2.ImageRequest(prompt="p", guidance=float("inf")), "image.guidance"),
    "plan in pieces": (
        image_pb2.ImageRequest(prompt="p", plan=plan(segments=[segment(exchange=0)])),
        "image.plan.segments[0].exchange",
    ),
    "a loss that is no number": (
        image_pb2.ImageRequest(prompt="p", overrides=image_pb2.PlanOverrides(loss_db=float("nan"))),
        "image.overrides.loss_db",
    ),
}


@pytest.mark.parametrize(("proto", "field"), REQUEST_REFUSALS.values(), ids=REQUEST_REFUSALS.keys())
def test_a_bad_request_is_the_users_error(proto: image_pb2.ImageRequest, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        image_request_from_proto(proto)
    assert [violation.field for violation in caught.value.violations] == [field]


def test_numbers_beyond_their_field_are_the_users_error() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        image_request_to_proto(
            ImageRequest(prompt="p", steps=2**31, seed=2**64, overrides=Overrides(tail_steps=-(2**31) - 1))
        )
    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["image.steps", "image.seed", "image.overrides.tail_steps"]


def test_texts_that_utf_8_cannot_carry_are_the_users_error() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        image_request_to_proto(ImageRequest(prompt="\udc80", overrides=Overrides(devices=(AgentId("\ud800"),))))
    assert [violation.field for violation in caught.value.violations] == ["image.prompt", "image.overrides.devices"]


def test_absent_fields_stay_absent() -> None:
    assert image_request_from_proto(image_pb2.ImageRequest(prompt="p")) == ImageRequest(prompt="p")


def test_fields_of_a_newer_client_are_passed_over() -> None:
    content = image_pb2.ImageRequest(prompt="p").SerializeToString() + UNKNOWN_FIELD
    assert image_request_from_proto(image_pb2.ImageRequest.FromString(content)) == ImageRequest(prompt="p")


def test_every_error_code_has_a_status_of_its_own() -> None:
    assert set(STATUS_CODES) == set(ErrorCode)
    assert len(set(STATUS_CODES.values())) == len(STATUS_CODES)


def test_a_wire_error_reaches_the_other_side_as_bad_input() -> None:
    back = error_from_status(*error_to_status(FieldError("plan.steps", "is odd")))
    assert isinstance(back, InvalidArgumentError)
    assert back.violations[0].field == "plan.steps"


def test_a_status_of_grpc_itself_is_told_by_its_code() -> None:
    back = error_from_status(grpc.StatusCode.UNAVAILABLE, "failed to connect", None)
    assert isinstance(back, UnreachableError)
    assert str(back) == "failed to connect"


def test_a_garbled_length_is_refused_before_memory_is_asked_for() -> None:
    with pytest.raises(WireError, match="beyond the limit"):
        FrameDecoder().feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))


UNESCAPED = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
HEADERS_BYTES_MAX = 8 * 1024 - 512
"""What gRPC takes for certain, less what it needs itself."""


@pytest.mark.parametrize("text", ["long " * 4000, "äöü" * 4000, "\N{GRINNING FACE}" * 4000, "%" * 4000])
@pytest.mark.parametrize(
    "error_of",
    [
        NoAgentsError,
        lambda text: InvalidArgumentError.of("plan", text),
        lambda text: InvalidArgumentError(*(FieldViolation(field=text, description=text) for _ in range(40))),
        lambda text: NotFoundError("model", text, tuple(f"{text}{index}" for index in range(100))),
        lambda text: FieldError(text, text),
    ],
)
def test_an_error_of_any_length_fits_the_headers_in_which_it_travels(
    error_of: Callable[[str], PolyrhythmError], text: str
) -> None:
    error = error_of(text)
    code, message, details = error_to_status(error)
    assert len(quote(message, safe=UNESCAPED)) + len(b64encode(details)) < HEADERS_BYTES_MAX
    back = error_from_status(code, message, details)
    assert back.code is error.code
    assert text[:10] in str(back)
    assert "..." in str(back)
