"""Everything that crosses between coordinator and agent daemon, and between a daemon and its worker.

Commands go down, events go up; a daemon passes most of them through unchanged. Frozen data only: encoding lives in
``polyrhythm.codec``, behaviour in the processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from polyrhythm.errors import FieldViolation
from polyrhythm.ids import AgentId, EpochId, GangId, JobId
from polyrhythm.job.image import ImageSpec, LongPrompt, Sampler
from polyrhythm.job.reports import BeatReport
from polyrhythm.model.facts import DeviceFacts, ModelFacts, ModelPart
from polyrhythm.plan.plan import Segment
from polyrhythm.plan.profile import Link, Profile, Workload
from polyrhythm.session.rendezvous import StoreReply, StoreRequest

PROTOCOL_VERSION = 3
"""Of the agent-internal protocol; a coordinator refuses agents that speak another."""

# --- commands: coordinator -> daemon -> worker -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The coordinator accepts an agent.

    Attributes:
        incarnation: of the coordinator.
        heartbeat_interval_s: how often the agent must send a heartbeat.
    """

    incarnation: int
    heartbeat_interval_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureProfile:
    """Measure the cost of a forward at several row counts.

    Attributes:
        request_id: repeated in the answer.
        workload: for what.
        together: all agents of a host measure at this moment, forwards only, and each until the time is over. Else the
            others of its host rest, and it measures encoding and decoding too.
        seconds: for forwards; a slow device begins none of more rows that would take longer.
    """

    request_id: int
    workload: Workload
    together: bool = False
    seconds: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StopMeasuring:
    """Nobody waits for a measurement any more: stop within a layer, and answer its request as failed."""

    request_id: int


COUNTED_FIELDS = ("prompt", "negative_prompt")
"""Fields of a request whose texts an agent looks at before the request is queued, in the order of ``CountTokens``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountTokens:
    """Count the tokens of texts with the model's tokenizer, so that a request that it cannot meet is refused early.

    Attributes:
        request_id: repeated in the answer.
        model: whose tokenizer and schedule.
        texts: of ``COUNTED_FIELDS``.
        sampler: whose grid the schedule must have.
        steps: of that grid.
        long_prompt: what becomes of a text beyond the model's limit.
    """

    request_id: int
    model: str
    texts: tuple[str, ...]
    sampler: Sampler
    steps: int
    long_prompt: LongPrompt = LongPrompt.REFUSE


@dataclass(frozen=True, slots=True, kw_only=True)
class StartEpoch:
    """Form (or reuse) a gang and run an image from a boundary to its end.

    Attributes:
        epoch: name of the run.
        gang: process group to use; formed if this worker does not hold it yet.
        members: agents in rank order.
        job: whose picture.
        image: the picture.
        begin_step: 0, or the boundary to resume from.
        root: the member that holds the text embeddings (encoding them if it does not) and, if ``begin_step`` is not
            0, the boundary state; it sends both to the others.
        decoder: the member that decodes and reports the image.
        plan_version: of the first segments.
        segments: the first segments of the plan.
        complete: whether ``segments`` reach the last step.
        step_timeout_s: an active step that takes longer is a hang.
        uninterruptible_s: longest predicted time in which a member does not look for an abort: a step, the encoding
            of the prompt or the decoding of the picture.
        exchange_dtype: in which activations travel, named as in ``ModelFacts.dtype``: the same for all members, each of
            which computes in its own.
        memory_need_bytes: what the member that gets this command is predicted to hold at most, weights included.
    """

    epoch: EpochId
    gang: GangId
    members: tuple[AgentId, ...]
    job: JobId
    image: ImageSpec
    begin_step: int
    root: AgentId
    decoder: AgentId
    plan_version: int
    segments: tuple[Segment, ...]
    complete: bool
    step_timeout_s: float
    uninterruptible_s: float
    exchange_dtype: str
    memory_need_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendPlan:
    """Further segments of a plan version that is being followed, or the first ones of a newer version.

    A newer version takes over at its first step, if that is a boundary of the version before and all members agreed one
    boundary earlier that they hold it; else it is never followed.

    Attributes:
        epoch: the run.
        plan_version: whose segments.
        segments: in order, without gaps.
        complete: whether they reach the last step.
        step_timeout_s: as in StartEpoch, for this version.
        uninterruptible_s: as in StartEpoch, for this version.
        memory_need_bytes: as in StartEpoch, for this version; a member that may not hold so much leaves the epoch.
    """

    epoch: EpochId
    plan_version: int
    segments: tuple[Segment, ...]
    complete: bool
    step_timeout_s: float
    uninterruptible_s: float
    memory_need_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelEpoch:
    """Stop at the next boundary that all members agree on, and do not decode."""

    epoch: EpochId


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortEpoch:
    """Stop at once: a member is lost. The gang is never used again; boundary states are kept."""

    epoch: EpochId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetJob:
    """The job has ended: embeddings and boundary states may go."""

    job: JobId


AgentCommand: TypeAlias = (
    Welcome
    | MeasureProfile
    | StopMeasuring
    | CountTokens
    | StartEpoch
    | ExtendPlan
    | CancelEpoch
    | AbortEpoch
    | ForgetJob
    | StoreReply
)

# --- events: worker -> daemon -> coordinator ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """First message of a session.

    Attributes:
        agent: unique name.
        protocol_version: must equal the coordinator's.
        software: versions that decide a picture's bytes, as ``(name, version)``.
        device: what the agent computes on.
    """

    agent: AgentId
    protocol_version: int
    software: tuple[tuple[str, str], ...]
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
        detail: what went wrong.
        violations: what the user must change, where the texts themselves are at fault; no other agent will take them.
    """

    request_id: int
    detail: str
    violations: tuple[FieldViolation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochJoined:
    """Groups are formed, embeddings and state are in place; the first step begins.

    Attributes:
        epoch: the run.
        encode_s: seconds that this member spent on encoding; 0 where it did not.
        links: measured links to other members as ``(peer, link)``, where the gang was formed just now.
    """

    epoch: EpochId
    encode_s: float
    links: tuple[tuple[AgentId, Link], ...]


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
        detail: what went wrong, for FAILED.
        gang_intact: whether the gang may be used again by this member.
        out_of_memory: whether this member's memory ran out, or would have.
        no_picture: whether what this member decoded is none, not finite or black all over, however often it is tried.
    """

    epoch: EpochId
    outcome: EpochOutcome
    held_boundaries: tuple[int, ...]
    detail: str
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
