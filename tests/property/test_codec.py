"""Encoding and decoding are inverses for every message, through the bytes; frames survive any tearing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrhythm import errors
from polyrhythm.codec.commands import AGENT_COMMAND
from polyrhythm.codec.events import AGENT_EVENT
from polyrhythm.codec.explanation import EXPLANATION
from polyrhythm.codec.fleet import AGENT
from polyrhythm.codec.framing import FrameDecoder, encode_frame
from polyrhythm.codec.image import IMAGE_SPEC, image_request_from_proto, image_request_to_proto
from polyrhythm.codec.job import JOB_EVENT
from polyrhythm.codec.plan import PLAN
from polyrhythm.codec.status import error_from_status, error_to_status
from polyrhythm.job.events import JobEvent
from polyrhythm.session.commands import AgentCommand
from polyrhythm.session.events import AgentEvent
from tests.property import codec_strategies as some
from tests.property import message_strategies


def through_bytes(value: Any, encode: Callable[[Any], Message], decode: Callable[[Any], Any]) -> Any:
    """Encodes, serialises, parses and decodes."""
    message = encode(value)
    return decode(type(message).FromString(message.SerializeToString()))


PAIRS = {
    "plan": (some.plans(), PLAN.to_proto, PLAN.from_proto),
    "explanation": (some.explanations, EXPLANATION.to_proto, EXPLANATION.from_proto),
    "agent": (some.agent_views, AGENT.to_proto, AGENT.from_proto),
    "image request": (some.image_requests, image_request_to_proto, image_request_from_proto),
    "image spec": (some.image_specs, IMAGE_SPEC.to_proto, IMAGE_SPEC.from_proto),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
@settings(max_examples=50)
@given(data=st.data())
def test_inverse(pair: tuple[st.SearchStrategy, Any, Any], data: st.DataObject) -> None:
    values, encode, decode = pair
    value = data.draw(values)
    assert through_bytes(value, encode, decode) == value


UNIONS = (
    (AgentCommand, message_strategies.commands, AGENT_COMMAND.to_proto, AGENT_COMMAND.from_proto),
    (AgentEvent, message_strategies.events, AGENT_EVENT.to_proto, AGENT_EVENT.from_proto),
    (JobEvent, some.job_event_values, JOB_EVENT.to_proto, JOB_EVENT.from_proto),
)
MEMBERS = [
    pytest.param(kind, values, encode, decode, id=kind.__name__)
    for union, strategies, encode, decode in UNIONS
    for kind, values in zip(get_args(union), strategies, strict=True)
]


@pytest.mark.parametrize(("kind", "values", "encode", "decode"), MEMBERS)
@settings(max_examples=25)
@given(data=st.data())
def test_inverse_of_every_union_member(
    kind: type, values: st.SearchStrategy, encode: Any, decode: Any, data: st.DataObject
) -> None:
    value = data.draw(values)
    assert isinstance(value, kind)
    assert through_bytes(value, encode, decode) == value


ERRORS: st.SearchStrategy[errors.PolyrhythmError] = st.one_of(
    st.lists(some.violations, min_size=1, max_size=3).map(lambda found: errors.InvalidArgumentError(*found)),
    st.builds(errors.NotFoundError, some.names, some.names, st.lists(some.names, max_size=12).map(tuple)),
    *(
        some.texts.map(kind)
        for kind in (
            errors.NoAgentsError,
            errors.AgentsLostError,
            errors.PictureFailedError,
            errors.CancelledError,
            errors.DeadlineExceededError,
            errors.UnreachableError,
            errors.AlreadyInUseError,
            errors.InternalError,
        )
    ),
)


@given(error=ERRORS)
def test_status_carries_the_error(error: errors.PolyrhythmError) -> None:
    back = error_from_status(*error_to_status(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    if isinstance(error, errors.InvalidArgumentError) and isinstance(back, errors.InvalidArgumentError):
        assert back.violations == error.violations
    if isinstance(error, errors.NotFoundError) and isinstance(back, errors.NotFoundError):
        assert (back.kind, back.name, back.known) == (error.kind, error.name, error.known)


@given(code=st.sampled_from(grpc.StatusCode), message=some.texts, details=st.none() | some.blobs)
def test_any_foreign_status_is_a_typed_error(code: grpc.StatusCode, message: str, details: bytes | None) -> None:
    assert isinstance(error_from_status(code, message, details), errors.PolyrhythmError)


@given(messages=st.lists(st.binary(max_size=300), max_size=8), data=st.data())
def test_frames_survive_tearing(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(message) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    decoder = FrameDecoder()
    found: list[bytes] = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += decoder.feed(stream[begin:end])
    decoder.finish()
    assert found == messages


@given(message=st.binary(max_size=300), data=st.data())
def test_truncated_frame_is_refused(message: bytes, data: st.DataObject) -> None:
    frame = encode_frame(message)
    decoder = FrameDecoder()
    assert decoder.feed(frame[: data.draw(st.integers(1, len(frame) - 1))]) == []
    with pytest.raises(errors.WireError, match="ended inside a frame"):
        decoder.finish()
