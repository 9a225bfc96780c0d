"""Jobs and pictures as the core knows them, frozen. Owns no behaviour beyond reading them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import ReplanReason
from polyrhythm.job.image import ImageRequest, ImageSpec
from polyrhythm.model.facts import DeviceFacts, ModelFacts, SoftwareVersion
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.plan import Plan
from polyrhythm_coordinator.scheduling.state.phases import Phase, Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenQuestion:
    """An unanswered CountTokens."""

    agent: AgentId
    request_id: int
    facts: ModelFacts
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """A request that is being checked, then stored; its client has been told nothing yet.

    Attributes:
        job: its name.
        request: as the client wrote it.
        drawn_seed: taken where the request names none.
        explain_only: it becomes an inquiry, and no job.
        submitted_s: when it came.
        question: the token count that is awaited.
        silent: agents that did not answer.
        reasons: why some of these did not.
        gone: agents that were lost when they should have answered; one that is lost twice is silent.
        deaths: workers that ended over its question, and what was said about it.
        checked: the job that it becomes once it is stored; None before all checks have passed.
    """

    job: JobId
    request: ImageRequest
    drawn_seed: int
    explain_only: bool
    submitted_s: float
    question: TokenQuestion | None = None
    silent: tuple[AgentId, ...] = ()
    reasons: Mapping[AgentId, str] = field(default_factory=dict[AgentId, str])
    gone: tuple[AgentId, ...] = ()
    deaths: tuple[str, ...] = ()
    checked: Job | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Sum of one agent's beat reports on one picture, and what it computes with."""

    device: DeviceFacts
    dtype: str
    software: tuple[SoftwareVersion, ...]
    steps: int = 0
    busy_s: float = 0.0
    wait_s: float = 0.0
    sent_bytes: int = 0
    corrections: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture of a job that is being made, over all its epochs.

    Attributes:
        job: whose.
        index: which of the job's pictures.
        image: what to make.
        facts: of the model; its agents must hold the same weights.
        fixed_plan: the plan that the client gave.
        phase: what is being done.
        begin_step: where the next epoch begins.
        replan: why the next plan is not the first one; None for the first.
        plans: followed ones, each with the step up to which it was followed.
        last_version: highest version given to a plan, whether it was followed or not.
        lost: agents that were lost on this picture, with the reason. They take no part in it as long as others can make
            it, so that a picture that ends workers ends.
        readmitted: those that take part again after one loss, with the reason, since nobody else was left.
        deaths: whose workers ended while they worked for it, and how, an entry an epoch or measurement.
        asked: newcomers that were asked to measure while it ran.
        speed_plans: followed for a changed speed so far.
        short_of_memory: agents whose memory ran out on this picture.
        reached: boundaries of this picture that an agent's present worker holds or held.
        holders_only: whether its next plan is one of agents that hold that boundary.
        failures: epochs that failed in a row at ``begin_step`` while nobody was lost.
        usage: by agent.
        encode_s: seconds to encode.
        decode_s: seconds to decode.
        first_step_s: when all members of the first epoch had joined.
        last_step_s: when the last boundary was completed.
        predicted_denoise_s: by the first plan.
        unplanned_since_s: since when there is no plan for it with those who are there; None where there is one.
    """

    job: JobId
    index: int
    image: ImageSpec
    facts: ModelFacts
    fixed_plan: Plan | None
    phase: Phase
    begin_step: int = 0
    replan: ReplanReason | None = None
    plans: tuple[tuple[Plan, int], ...] = ()
    last_version: int = 0
    lost: Mapping[AgentId, str] = field(default_factory=dict[AgentId, str])
    readmitted: Mapping[AgentId, str] = field(default_factory=dict[AgentId, str])
    deaths: tuple[str, ...] = ()
    asked: frozenset[AgentId] = frozenset()
    speed_plans: int = 0
    short_of_memory: frozenset[AgentId] = frozenset()
    reached: Mapping[AgentId, frozenset[int]] = field(default_factory=dict[AgentId, frozenset[int]])
    holders_only: bool = False
    failures: int = 0
    usage: Mapping[AgentId, Usage] = field(default_factory=dict[AgentId, Usage])
    encode_s: float = 0.0
    decode_s: float = 0.0
    first_step_s: float | None = None
    last_step_s: float | None = None
    predicted_denoise_s: float = 0.0
    unplanned_since_s: float | None = None

    @property
    def has_begun(self) -> bool:
        """Whether it was planned before: its next plan is for the rest of it, and goes before pictures that wait."""
        return self.replan is not None

    @property
    def holders(self) -> frozenset[AgentId]:
        """Agents that hold the boundary to resume from."""
        return frozenset(agent for agent, steps in self.reached.items() if self.begin_step in steps)

    def followed_until(self, step: int) -> Picture:
        """The same with a note of how far the last plan was followed."""
        (plan, _), before = self.plans[-1], self.plans[:-1]
        return replace(self, plans=(*before, (plan, step)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Pictures that a client wants made, or wants to know something about.

    Attributes:
        job: its name.
        image: the first picture; further ones have the seeds after it.
        count: how many.
        facts: of the model; agents must hold the same weights.
        fixed_plan: the plan that the client gave.
        notices: what the client should know of its texts, told with every plan.
        left_out: agents that could not measure for it, or whose worker ended while it did, with the reason.
        gone_measuring: agents that were lost while they measured for it; one that is lost twice is left out.
    """

    job: JobId
    image: ImageSpec
    count: int
    facts: ModelFacts
    fixed_plan: Plan | None
    notices: tuple[str, ...] = ()
    left_out: Mapping[AgentId, str] = field(default_factory=dict[AgentId, str])
    gone_measuring: frozenset[AgentId] = frozenset()

    def picture(self, index: int) -> Picture:
        """One of its pictures, at its beginning."""
        return Picture(
            job=self.job,
            index=index,
            image=self.image.with_seed(self.image.seed + index),
            facts=self.facts,
            fixed_plan=self.fixed_plan,
            phase=Waiting(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Wanted):
    """An accepted request for pictures.

    Attributes:
        accepted_s: when it was accepted.
        started_s: when its first picture left the queue; None while it waits.
        waiting: indices of the pictures that have not begun, ascending.
        pictures: those that are being made, by index.
        gang: how its pictures would be made by all agents together, as last searched; None before.
    """

    accepted_s: float
    started_s: float | None = None
    waiting: tuple[int, ...]
    pictures: Mapping[int, Picture] = field(default_factory=dict[int, Picture])
    gang: Explanation | None = None
