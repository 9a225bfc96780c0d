"""What the client of a job is told, in order; the stream ends after the last picture or with an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.image import ImageSpec
from polyrhythm.job.reports import JobReport
from polyrhythm.model.facts import ModelPart
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAccepted:
    """The request is valid and queued.

    Attributes:
        job: its name.
        image: the first picture with all defaults filled in; the others have the seeds after it.
        fingerprint: of the model that makes them.
    """

    job: JobId
    image: ImageSpec
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQueued:
    """Place in the queue; 0 means that the job is running."""

    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDelayed:
    """Nobody can work on the job now; it goes on as soon as somebody can.

    Attributes:
        reason: what it waits for, in words.
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilingProgressed:
    """Agents measure a size that they have not seen yet, and the job waits for it.

    Attributes:
        agents: that measure now.
        width_px: of the size.
        height_px: of the size.
        done: measurements of this size that are done.
        total: measurements that it takes in all.
    """

    agents: tuple[AgentId, ...]
    width_px: int
    height_px: int
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlanned:
    """A plan was chosen for a picture."""

    image_index: int
    explanation: Explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageProgressed:
    """Steps done by the slowest member, with the predicted time left.

    Attributes:
        image_index: which picture.
        step: fine steps behind all members.
        steps: fine steps of the picture.
        left_s: predicted seconds to the end of the decode.
        agents: at work now.
    """

    image_index: int
    step: int
    steps: int
    left_s: float
    agents: tuple[AgentId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePreviewed:
    """A small PNG of the picture as predicted at a step."""

    image_index: int
    step: int
    png: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPartLoaded:
    """A picture waited while an agent loaded a part of the model that it did not hold yet, or not any more.

    Attributes:
        image_index: which picture.
        agent: who loaded.
        part: what.
        loading_s: seconds that it took.
    """

    image_index: int
    agent: AgentId
    part: ModelPart
    loading_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFailed:
    """A member's work broke off in mid-image: it was lost, or it is still there and its run failed."""

    agent: AgentId
    reason: str


class ReplanReason(StrEnum):
    """Why a running picture got a new plan."""

    AGENT_LOST = "agent_lost"
    EPOCH_FAILED = "epoch_failed"
    AGENT_JOINED = "agent_joined"
    AGENT_DRAINED = "agent_drained"
    SPEED_CHANGED = "speed_changed"
    OUT_OF_MEMORY = "out_of_memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReplanned:
    """The rest of the picture follows another plan, from a boundary on."""

    image_index: int
    reason: ReplanReason
    begin_step: int
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChunk:
    """A part of a PNG file."""

    image_index: int
    offset: int
    data: bytes = field(repr=False)
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCompleted:
    """A picture is done; its chunks were sent before."""

    report: JobReport


JobNews: TypeAlias = (
    JobAccepted
    | JobQueued
    | JobDelayed
    | ProfilingProgressed
    | ImagePlanned
    | ImageProgressed
    | ModelPartLoaded
    | AgentFailed
    | ImageReplanned
    | ImageCompleted
)
"""What a client is told without bytes of pictures."""
JobEvent: TypeAlias = JobNews | ImagePreviewed | ImageChunk
