"""What can happen to the scheduling core. Everything that changes its state is one of these, in one total order.

A session is one stream of one agent: an agent that reconnects has the same name and another session, so that a late
event of the old stream is told apart. Bytes of pictures stay at the edge: what comes with some is known by a reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType, TypeAlias

from polyrhythm.errors import PolyrhythmError
from polyrhythm.ids import AgentId, EpochId, JobId
from polyrhythm.job.image import ImageRequest
from polyrhythm.job.picture_file import FileFacts
from polyrhythm.plan.explanation import Explanation
from polyrhythm.session.events import AgentReport, Register

SessionId = NewType("SessionId", int)
"""Number of one agent's stream, never used twice by one coordinator."""
BlobId = NewType("BlobId", int)
"""Number under which the edge keeps bytes, never used twice by one coordinator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConnected:
    """An agent opened a stream and introduced itself."""

    session: SessionId
    register: Register


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewReceived:
    """``PreviewMade`` without its bytes.

    Attributes:
        epoch: the run.
        step: of the picture.
        blob: under which the bytes may be kept.
        size_bytes: how many there are.
        file: what they are.
    """

    epoch: EpochId
    step: int
    blob: BlobId
    size_bytes: int
    file: FileFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePartReceived:
    """``ImageMade`` without its bytes.

    Attributes:
        epoch: the run.
        blob: under which a file may be kept that begins with this part.
        offset: of this part in the file.
        size_bytes: of this part.
        decode_s: seconds of decoding; 0 except in the last part.
        file: what the whole file is, this part its end; None where it is not the last one.
    """

    epoch: EpochId
    blob: BlobId
    offset: int
    size_bytes: int
    decode_s: float
    file: FileFacts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEventReceived:
    """An agent said something."""

    agent: AgentId
    session: SessionId
    event: AgentReport | PreviewReceived | ImagePartReceived


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDisconnected:
    """An agent's stream ended, whoever ended it."""

    agent: AgentId
    session: SessionId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSubmitted:
    """A client asks for pictures, or how they would be made.

    Attributes:
        job: its name, new to the core.
        request: as the client wrote it.
        drawn_seed: taken where the request names no seed.
        explain_only: nothing is made; the plan is the answer.
    """

    job: JobId
    request: ImageRequest
    drawn_seed: int
    explain_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStored:
    """Answer to ``StoreJob``: the job outlasts this process."""

    job: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class StoringFailed:
    """``StoreJob`` could not be carried out."""

    job: JobId
    error: PolyrhythmError


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCancelled:
    """The client hung up, cancelled, or its deadline passed.

    Attributes:
        job: which.
        error: what the client is told if it still listens.
    """

    job: JobId
    error: PolyrhythmError


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDrained:
    """Somebody takes an agent out of service, or puts it back.

    Attributes:
        agent: which; connected, or drained earlier.
        undo: it takes work again.
    """

    agent: AgentId
    undo: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanComputed:
    """Answer to ``ComputePlan`` of the same number."""

    job: JobId
    number: int
    explanation: Explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFailed:
    """``ComputePlan`` of the same number could not be answered."""

    job: JobId
    number: int
    error: PolyrhythmError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time has passed; sent every ``Limits.tick_interval_s``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """The coordinator ends: every job and every stream is to be ended."""


Event: TypeAlias = (
    AgentConnected
    | AgentEventReceived
    | AgentDisconnected
    | AgentDrained
    | JobSubmitted
    | JobStored
    | StoringFailed
    | JobCancelled
    | PlanComputed
    | PlanFailed
    | Tick
    | Stopping
)
