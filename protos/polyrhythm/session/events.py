"""Events of an agent for the coordinator. They go up; a daemon passes most of its worker's on unchanged.

Frozen data only: encoding lives in ``polyrhythm.codec``, behaviour in the processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from polyrhythm.errors import FieldViolation
from polyrhythm.ids import AgentId, EpochId
from polyrhythm.job.reports import BeatReport
from polyrhythm.model.facts import DeviceFacts, ModelFacts, ModelPart, SoftwareVersion
from polyrhythm.plan.profile import Link, Profile
from polyrhythm.session.rendezvous import StoreRequest

PROTOCOL_VERSION = 1
"""Of the agent-internal protocol; a coordinator refuses agents that speak another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """First message of a session.

    Attributes:
        agent: unique name.
        protocol_version: must equal the coordinator's.
        software: versions that decide a picture's bytes.
        device: what the agent computes on.
    """

    agent: AgentId
    protocol_version: int
    software: tuple[SoftwareVersion, ...]
    device: DeviceFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReady:
    """The worker has loaded its models' denoisers and takes commands."""

    models: tuple[ModelFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost:
    """The worker died or hung and was ended; the daemon starts another.

    Also worker -> daemon, instead of WorkerReady: it cannot load its model, and no other start could.
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The sender is alive; also worker -> daemon."""

    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRead:
    """How much memory an idle worker may use, as read just now; said again and again while it is idle.

    Attributes:
        usable_bytes: in all, what it holds already (weights above all) included.
        free_bytes: of these not in use.
    """

    usable_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileMeasured:
    """Answer to MeasureProfile."""

    request_id: int
    profile: Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensCounted:
    """Answer to CountTokens.

    Attributes:
        request_id: of the command.
        counts: one a text, end mark included: of the whole text, of what is left of it where it is cut, of all windows
            where it is chunked.
        notices: what the user should know of the texts, which are taken all the same.
    """

    request_id: int
    counts: tuple[int, ...]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed:
    """MeasureProfile or CountTokens could not be answered.

    Attributes:
        request_id: of the command.
        message: what went wrong.
        violations: what the user must change, where the texts themselves are at fault; no other agent will take them.
    """

    request_id: int
    message: str
    violations: tuple[FieldViolation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLink:
    """What messages to one peer cost."""

    peer: AgentId
    link: Link


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochJoined:
    """Groups are formed, embeddings and state are in place; the first step begins.

    Attributes:
        epoch: the run.
        encode_s: seconds that this member spent on encoding; 0 where it did not.
        links: measured links to other members, where the gang was formed just now.
    """

    epoch: EpochId
    encode_s: float
    links: tuple[PeerLink, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLoaded:
    """A part of the model was loaded while an epoch waited for it.

    Attributes:
        epoch: the run.
        part: which.
        loading_s: seconds that it took.
    """

    epoch: EpochId
    part: ModelPart
    loading_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """An active step within a beat has ended; says how many fine steps lie behind this member."""

    epoch: EpochId
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatDone:
    """A boundary is completed and its state is held."""

    report: BeatReport


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewMade:
    """A small PNG of the predicted picture at a boundary."""

    epoch: EpochId
    step: int
    png: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMade:
    """The decoded picture, in parts that fit a message.

    Attributes:
        epoch: the run.
        offset: of this part in the PNG file.
        data: the part.
        last: whether it is the last one.
        decode_s: seconds of decoding; 0 except in the last part.
    """

    epoch: EpochId
    offset: int
    data: bytes
    last: bool
    decode_s: float


class EpochOutcome(StrEnum):
    """How a member's run of an epoch ended."""

    FINISHED = "finished"
    CANCELLED = "cancelled"
    ABORTED = "aborted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnded:
    """A member has left an epoch; no receive of it is posted any more.

    Attributes:
        epoch: the run.
        outcome: how it ended.
        held_boundaries: fine steps whose boundary state this member holds, ascending, at most two.
        message: what went wrong, for FAILED.
        gang_intact: whether the gang may be used again by this member.
        out_of_memory: whether this member's memory ran out, or would have.
        no_picture: whether what this member decoded is none, not finite or black all over, however often it is tried.
    """

    epoch: EpochId
    outcome: EpochOutcome
    held_boundaries: tuple[int, ...]
    message: str
    gang_intact: bool
    out_of_memory: bool = False
    no_picture: bool = False


AgentReport: TypeAlias = (
    Register
    | WorkerReady
    | WorkerLost
    | Heartbeat
    | ProfileMeasured
    | TokensCounted
    | RequestFailed
    | EpochJoined
    | PartLoaded
    | StepDone
    | BeatDone
    | EpochEnded
    | StoreRequest
    | MemoryRead
)
"""What an agent says without bytes of pictures."""
AgentEvent: TypeAlias = AgentReport | PreviewMade | ImageMade
