"""Commands of the coordinator to an agent. They go down; a daemon passes most of them to its worker unchanged.

Frozen data only: encoding lives in ``polyrhythm.codec``, behaviour in the processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from polyrhythm.ids import AgentId, EpochId, GangId, JobId
from polyrhythm.job.image import ImageSpec
from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm.plan.plan import Segment
from polyrhythm.plan.profile import Workload
from polyrhythm.session.rendezvous import StoreReply


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
"""Fields of a picture whose texts an agent looks at before its request is queued, in the order of ``CountTokens``."""


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
