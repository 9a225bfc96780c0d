"""The one error hierarchy. Every error that leaves a process is one of these, with a code and, for bad input, a field.

Must not import anything but the standard library: every other module may raise from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrorCode(StrEnum):
    """Closed set of outcomes that are not success; mapped once to gRPC status codes by the coordinator."""

    INVALID_ARGUMENT = "invalid_argument"
    NOT_FOUND = "not_found"
    NO_AGENTS = "no_agents"
    CANCELLED = "cancelled"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    AGENTS_LOST = "agents_lost"
    UNREACHABLE = "unreachable"
    ALREADY_IN_USE = "already_in_use"
    PICTURE_FAILED = "picture_failed"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One thing wrong with one field of a request.

    Attributes:
        field: path of the field from the message of the RPC on, such as ``image.width_px``; of a command, an option or
            a variable.
        description: one sentence that says what was given and what is allowed.
    """

    field: str
    description: str


class PolyrhythmError(Exception):
    """Base of all typed errors of this project."""

    code: ErrorCode = ErrorCode.INTERNAL


class InvalidArgumentError(PolyrhythmError, ValueError):
    """The user's input is wrong; nothing was queued.

    Attributes:
        violations: every field that is wrong, at least one.
    """

    code = ErrorCode.INVALID_ARGUMENT

    def __init__(self, *violations: FieldViolation) -> None:
        self.violations = violations
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))

    @classmethod
    def of(cls, field: str, description: str) -> InvalidArgumentError:
        """Makes the error for one field."""
        return cls(FieldViolation(field=field, description=description))


class NotFoundError(PolyrhythmError):
    """A named thing, such as a model or an agent, does not exist in this fleet."""

    code = ErrorCode.NOT_FOUND

    def __init__(self, kind: str, name: str, known: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.name = name
        self.known = known
        listed = f"; known: {', '.join(known)}" if known else ""
        super().__init__(f"{kind} {name!r} does not exist{listed}")


class NoAgentsError(PolyrhythmError):
    """No agent is connected and ready, so nothing can be denoised."""

    code = ErrorCode.NO_AGENTS


class AgentsLostError(PolyrhythmError):
    """Every agent that worked on a job was lost before the picture was done."""

    code = ErrorCode.AGENTS_LOST


class PictureFailedError(PolyrhythmError):
    """What was asked for cannot be made here: it ended worker after worker, or came out as no picture."""

    code = ErrorCode.PICTURE_FAILED


class CancelledError(PolyrhythmError):
    """The job was cancelled by its client."""

    code = ErrorCode.CANCELLED


class DeadlineExceededError(PolyrhythmError):
    """The client's deadline passed before the picture was done."""

    code = ErrorCode.DEADLINE_EXCEEDED


class UnreachableError(PolyrhythmError):
    """A process of the fleet could not be reached at the given address."""

    code = ErrorCode.UNREACHABLE


class AlreadyInUseError(PolyrhythmError):
    """A port, an agent name or a device is held by somebody else."""

    code = ErrorCode.ALREADY_IN_USE


class ResourceExhaustedError(PolyrhythmError):
    """More was sent, or is left unread, than a process keeps for one other."""

    code = ErrorCode.RESOURCE_EXHAUSTED


class WireError(PolyrhythmError, ValueError):
    """A message from another process does not mean anything: unknown enum value, missing part, bad invariant."""

    code = ErrorCode.INVALID_ARGUMENT


class InternalError(PolyrhythmError):
    """A bug or an unforeseen failure, reported as such."""

    code = ErrorCode.INTERNAL
