"""What the scheduling core wants done. The interpreter carries these out in order; nothing here does anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from polyrhythm.errors import PolyrhythmError
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import JobNews
from polyrhythm.job.image import ImageRequest, ImageSpec
from polyrhythm.session.commands import AgentCommand
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask
from polyrhythm_coordinator.scheduling.state.events import BlobId, SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class SendCommand:
    """Send a command down an agent's stream."""

    agent: AgentId
    session: SessionId
    command: AgentCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class DisconnectAgent:
    """End an agent's stream with an error: it is refused, lost, or the coordinator stops."""

    agent: AgentId
    session: SessionId
    error: PolyrhythmError


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepBytes:
    """Append the bytes that came with this event to what is kept under a number.

    Attributes:
        job: whose picture or preview it is; it ends where there is no room for them.
        blob: the number.
    """

    job: JobId
    blob: BlobId


@dataclass(frozen=True, slots=True, kw_only=True)
class DropBytes:
    """Nobody will want these bytes any more."""

    blob: BlobId


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageKept:
    """The whole file of a picture is kept; it is its reader's from now on.

    Attributes:
        image_index: which picture.
        blob: under which number.
        size_bytes: of the file.
    """

    image_index: int
    blob: BlobId
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewKept:
    """A preview is kept; it is its reader's from now on.

    Attributes:
        image_index: of which picture.
        step: of the picture.
        blob: under which number.
        size_bytes: of the file.
    """

    image_index: int
    step: int
    blob: BlobId
    size_bytes: int


JobFact: TypeAlias = JobNews | ImageKept | PreviewKept
"""What the core says of a job, as often as it finds it so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Tell a job's client a fact, if it is news.

    Attributes:
        job: whose client.
        fact: what is so.
        image_index: of which picture, where the fact does not say; None for the whole job.
    """

    job: JobId
    fact: JobFact
    image_index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreJob:
    """Keep a job beyond this process; answered by ``JobStored`` or ``StoringFailed``.

    Attributes:
        job: its name.
        request: as its client wrote it.
        image: its first picture, with nothing left open.
    """

    job: JobId
    request: ImageRequest
    image: ImageSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseJob:
    """What was submitted under this name is not taken; a job that has the name goes on."""

    job: JobId
    error: PolyrhythmError


@dataclass(frozen=True, slots=True, kw_only=True)
class EndJob:
    """The job is done; its client's stream ends well. Nothing is told to it afterwards."""

    job: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class FailJob:
    """The job has ended with an error. Nothing is told to its client afterwards."""

    job: JobId
    error: PolyrhythmError


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputePlan:
    """Search a plan off the event loop; answered by ``PlanComputed`` or ``PlanFailed`` of the same number."""

    job: JobId
    number: int
    task: PlanTask


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessChanged:
    """Whether at least one agent can take work."""

    ready: bool


Effect: TypeAlias = (
    SendCommand
    | DisconnectAgent
    | KeepBytes
    | DropBytes
    | Tell
    | StoreJob
    | RefuseJob
    | EndJob
    | FailJob
    | ComputePlan
    | ReadinessChanged
)
