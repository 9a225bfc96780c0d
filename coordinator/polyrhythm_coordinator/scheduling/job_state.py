"""Jobs and pictures as the core knows them, frozen. Owns no behaviour beyond reading them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from polyrhythm.explanation import Exclusion
from polyrhythm.facts import ModelFacts
from polyrhythm.ids import AgentId, EpochId, JobId
from polyrhythm.image import ImageRequest, ImageSpec
from polyrhythm.job_events import ReplanReason
from polyrhythm.plan import Plan
from polyrhythm_coordinator.scheduling.effects import PlanTask


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenQuestion:
    """An unanswered CountTokens."""

    agent: AgentId
    request_id: int
    facts: ModelFacts
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """A request that is being checked; its client has been told nothing yet.

    Attributes:
        job: its name.
        request: as the client wrote it.
        drawn_seed: taken where the request names none.
        explain_only: stop after the plan.
        submitted_s: when it came.
        question: the token count that is awaited.
        silent: agents that did not answer.
    """

    job: JobId
    request: ImageRequest
    drawn_seed: int
    explain_only: bool
    submitted_s: float
    question: TokenQuestion | None = None
    silent: tuple[AgentId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """In the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparing:
    """Its next plan needs ready agents and their profiles.

    Attributes:
        since_s: when this began.
        excluded: agents that could not give one.
        holders_only: plan with agents only that hold the boundary to resume from.
    """

    since_s: float
    excluded: Mapping[AgentId, Exclusion] = field(default_factory=dict[AgentId, Exclusion])
    holders_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """A plan is being computed."""

    number: int
    task: PlanTask


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A gang works on it, or is being ended."""

    epoch: EpochId


Phase: TypeAlias = Waiting | Preparing | Planning | Running


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Sum of one agent's beat reports on one picture."""

    device: str
    emulated: bool
    steps: int = 0
    busy_s: float = 0.0
    wait_s: float = 0.0
    sent_bytes: int = 0
    corrections: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture of a job, over all its epochs.

    Attributes:
        index: which of the job's pictures.
        image: what to make.
        begin_step: where the next epoch begins.
        replan: why the next plan is not the first one; None for the first.
        plans: followed ones, each with the step up to which it was followed.
        last_version: highest version given to a plan, whether it was followed or not.
        lost: agents that were lost on this picture, with the reason. They take no further part in it, so that a picture
            that kills workers ends.
        short_of_memory: agents whose memory ran out on this picture.
        reached: boundaries of this picture that an agent's present worker holds or held.
        failures: epochs that failed in a row at ``begin_step`` while nobody was lost.
        usage: by agent.
        versions: software and model of all that took part, by agent.
        encode_s: seconds to encode.
        decode_s: seconds to decode.
        first_step_s: when all members of the first epoch had joined.
        last_step_s: when the last boundary was completed.
        predicted_denoise_s: by the first plan.
        told_step: progress as last told.
        told_s: when.
    """

    index: int
    image: ImageSpec
    begin_step: int = 0
    replan: ReplanReason | None = None
    plans: tuple[tuple[Plan, int], ...] = ()
    last_version: int = 0
    lost: Mapping[AgentId, str] = field(default_factory=dict[AgentId, str])
    short_of_memory: frozenset[AgentId] = frozenset()
    reached: Mapping[AgentId, frozenset[int]] = field(default_factory=dict[AgentId, frozenset[int]])
    failures: int = 0
    usage: Mapping[AgentId, Usage] = field(default_factory=dict[AgentId, Usage])
    versions: Mapping[AgentId, tuple[tuple[str, str], ...]] = field(
        default_factory=dict[AgentId, tuple[tuple[str, str], ...]]
    )
    encode_s: float = 0.0
    decode_s: float = 0.0
    first_step_s: float | None = None
    last_step_s: float | None = None
    predicted_denoise_s: float = 0.0
    told_step: int = 0
    told_s: float | None = None

    @property
    def holders(self) -> frozenset[AgentId]:
        """Agents that hold the boundary to resume from."""
        return frozenset(agent for agent, steps in self.reached.items() if self.begin_step in steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An accepted request.

    Attributes:
        job: its name.
        count: pictures to make.
        facts: of the model; agents of the job must hold the same weights.
        fixed_plan: the plan that the client gave.
        explain_only: stop after the plan.
        accepted_s: when it was accepted.
        started_s: when it left the queue; None while it waits.
        told_position: place in the queue as last told.
        phase: what is being done.
        picture: the picture that is being made.
    """

    job: JobId
    count: int
    facts: ModelFacts
    fixed_plan: Plan | None
    explain_only: bool
    accepted_s: float
    started_s: float | None = None
    told_position: int | None = None
    phase: Phase = Waiting()
    picture: Picture
