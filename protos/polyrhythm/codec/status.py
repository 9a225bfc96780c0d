"""Typed errors to and from gRPC's rich status: google.rpc.Status with ErrorInfo and, for bad input, BadRequest.

Owns the one table from error codes to status codes. An error that another project's software raised in between (a
proxy, gRPC itself) has no ErrorInfo and is told apart by its status code alone.
"""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs] - typed by .pyi files

from polyrhythm.codec.fields import FieldError
from polyrhythm.errors import (
    AgentsLostError,
    AlreadyInUseError,
    CancelledError,
    DeadlineExceededError,
    ErrorCode,
    FieldViolation,
    InternalError,
    InvalidArgumentError,
    NoAgentsError,
    NotFoundError,
    PictureFailedError,
    PolyrhythmError,
    ResourceExhaustedError,
    UnreachableError,
)

DOMAIN = "polyrhythm"
DETAILS_KEY = "grpc-status-details-bin"
"""Name of the trailing metadata entry that carries the serialised google.rpc.Status."""

_UNKNOWN_FIELD = "request"

STATUS_CODES = {
    ErrorCode.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    # Not UNAVAILABLE: a client that retries by itself would wait for somebody to start an agent.
    ErrorCode.NO_AGENTS: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorCode.CANCELLED: grpc.StatusCode.CANCELLED,
    ErrorCode.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    ErrorCode.AGENTS_LOST: grpc.StatusCode.ABORTED,
    ErrorCode.UNREACHABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorCode.ALREADY_IN_USE: grpc.StatusCode.ALREADY_EXISTS,
    # Not INTERNAL: the same request will end the same way.
    ErrorCode.PICTURE_FAILED: grpc.StatusCode.DATA_LOSS,
    ErrorCode.RESOURCE_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorCode.INTERNAL: grpc.StatusCode.INTERNAL,
}
_ERROR_CODES = {status: code for code, status in STATUS_CODES.items()}
_CODE_NUMBERS: dict[grpc.StatusCode, int] = {code: int(code.value[0]) for code in grpc.StatusCode}

_SIMPLE_ERRORS: dict[ErrorCode, type[PolyrhythmError]] = {
    ErrorCode.NO_AGENTS: NoAgentsError,
    ErrorCode.CANCELLED: CancelledError,
    ErrorCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    ErrorCode.AGENTS_LOST: AgentsLostError,
    ErrorCode.UNREACHABLE: UnreachableError,
    ErrorCode.ALREADY_IN_USE: AlreadyInUseError,
    ErrorCode.PICTURE_FAILED: PictureFailedError,
    ErrorCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    ErrorCode.INTERNAL: InternalError,
}


MESSAGE_BYTES_MAX = 3000
PART_BYTES_MAX = 300
NAME_BYTES_MAX = 60
VIOLATIONS_MAX = 16
VIOLATIONS_BYTES_MAX = 2400
"""An error travels in headers. gRPC takes 8 KiB of them; beyond that it refuses some, at random, and a client sees
neither code nor text. The message counts as it is escaped there, and details by a third more."""
ELLIPSIS = " ..."
ESCAPE, ESCAPED_BYTES = ord("%"), 3


def error_to_status(error: PolyrhythmError) -> tuple[grpc.StatusCode, str, bytes]:
    """What a servicer answers for an error.

    Returns:
        The status code, the message, and the serialised google.rpc.Status for the trailing metadata entry DETAILS_KEY.
    """
    code, message = STATUS_CODES[error.code], _shortened_escaped(str(error), MESSAGE_BYTES_MAX)
    info = error_details_pb2.ErrorInfo(reason=error.code.name, domain=DOMAIN)
    details: list[Message] = [info]
    match error:
        case InvalidArgumentError(violations=violations):
            details.append(_bad_request(violations))
        case FieldError(field=field, description=description):
            details.append(_bad_request((FieldViolation(field=field, description=description),)))
        case NotFoundError():
            details.append(
                error_details_pb2.ResourceInfo(
                    resource_type=error.kind, resource_name=_shortened(error.name, PART_BYTES_MAX)
                )
            )
            _add_known(info, error.known)
        case _:
            pass
    status = status_pb2.Status(code=_CODE_NUMBERS[code], message=_shortened(message, PART_BYTES_MAX))
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return code, message, status.SerializeToString()


def error_from_status(code: grpc.StatusCode, message: str, details: bytes | None) -> PolyrhythmError:
    """The error that a status stands for.

    Args:
        code: of the call.
        message: of the call.
        details: the trailing metadata entry DETAILS_KEY; None where there is none.
    """
    status = _parse(details)
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    resource = error_details_pb2.ResourceInfo()
    for packed in status.details:
        for detail in (info, bad_request, resource):
            packed.Unpack(detail)  # leaves details of other types alone
    ours = info.domain == DOMAIN and info.reason in ErrorCode.__members__
    kind = ErrorCode[info.reason] if ours else _ERROR_CODES.get(code)
    match kind:
        case None:
            return InternalError(f"{code.name}: {message}")
        case ErrorCode.INVALID_ARGUMENT:
            found = tuple(
                FieldViolation(field=violation.field, description=violation.description)
                for violation in bad_request.field_violations
            )
            return InvalidArgumentError(*(found or (FieldViolation(field=_UNKNOWN_FIELD, description=message),)))
        case ErrorCode.NOT_FOUND if resource.resource_type:
            known = tuple(info.metadata[f"known.{index}"] for index in range(len(info.metadata)))
            return NotFoundError(resource.resource_type, resource.resource_name, known)
        case ErrorCode.NOT_FOUND:
            return InternalError(f"{code.name}: {message}")
        case _:
            return _SIMPLE_ERRORS[kind](message)


def _bad_request(violations: tuple[FieldViolation, ...]) -> error_details_pb2.BadRequest:
    told = violations[:VIOLATIONS_MAX]
    bytes_max = VIOLATIONS_BYTES_MAX // max(1, len(told)) - NAME_BYTES_MAX
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=_shortened(violation.field, NAME_BYTES_MAX),
                description=_shortened(violation.description, bytes_max),
            )
            for violation in told
        ]
    )


def _add_known(info: error_details_pb2.ErrorInfo, known: tuple[str, ...]) -> None:
    """Names what there is, as far as there is room."""
    for index, name in enumerate(known):
        info.metadata[f"known.{index}"] = _shortened(name, NAME_BYTES_MAX)
        if info.ByteSize() > VIOLATIONS_BYTES_MAX:
            del info.metadata[f"known.{index}"]
            return


def _shortened_escaped(text: str, bytes_max: int) -> str:
    """A text that takes no more bytes than that with everything escaped that is no printable ASCII."""
    left = bytes_max
    for index, byte in enumerate(encoded := text.encode(errors="replace")):
        left -= 1 if 0x20 <= byte < 0x7F and byte != ESCAPE else ESCAPED_BYTES
        if left < 0:
            return _shortened(text, index)
    return encoded.decode()


def _shortened(text: str, bytes_max: int) -> str:
    """A text that takes no more bytes than that; what is left out is shown by an ellipsis."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= bytes_max:
        return encoded.decode()
    return encoded[: bytes_max - len(ELLIPSIS.encode())].decode(errors="ignore") + ELLIPSIS


def _parse(details: bytes | None) -> status_pb2.Status:
    status = status_pb2.Status()
    if details:
        try:
            status.ParseFromString(details)
        except DecodeError:
            # Somebody else's details: the status code still says what happened.
            return status_pb2.Status()
    return status
