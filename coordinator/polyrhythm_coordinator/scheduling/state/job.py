"""Jobs and pictures as the core knows them, frozen. Owns no behaviour beyond reading them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import TypeAlias

from polyrhythm.ids import AgentId, EpochId, JobId
from polyrhythm.job.events import ReplanReason
from polyrhythm.job.image import ImageRequest, ImageSpec
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.plan import Plan
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask


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
        explain_only: stop after the plan.
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
class Situation:
    """Everything on which it depends whether a picture begins now or waits for devices that are busy.

    Attributes:
        free: agents that could begin something.
        busy: agents that work on something, each with what.
        waiting: the next pictures in the queue, as many as are looked at together.
    """

    free: frozenset[AgentId]
    busy: frozenset[tuple[AgentId, EpochId | None]]
    waiting: tuple[tuple[JobId, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparing:
    """Its next plan needs ready agents and their profiles.

    Attributes:
        since_s: when this began, or when it last waited for something else than loading.
        holders_only: plan with agents only that hold the boundary to resume from.
        held_in: the situation in which it was better to wait; None if nothing was decided yet.
        held_until_s: when it is looked at again even if that has not changed.
        shelved: whether all that could make it are drained, so that others need not wait for it.
    """

    since_s: float
    holders_only: bool = False
    held_in: Situation | None = None
    held_until_s: float = inf
    shelved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """A plan is being computed.

    Attributes:
        number: of the ComputePlan.
        task: what is asked.
        compares: the answer tells only what a gang would take; what is made by whom is decided then.
        reserves: agents that are kept free for the answer.
        expected_s: rough seconds for which they will be busy, once they begin.
        rival: the gang's plan that was decided against; None if there was no choice.
        sharing: why, in words.
    """

    number: int
    task: PlanTask
    compares: bool = False
    reserves: frozenset[AgentId] = frozenset()
    expected_s: float = 0.0
    rival: Explanation | None = None
    sharing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A gang works on it, or is being ended."""

    epoch: EpochId


Phase: TypeAlias = Preparing | Planning | Running


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
    """One picture of a job that is being made, over all its epochs.

    Attributes:
        job: whose.
        index: which of the job's pictures.
        image: what to make.
        facts: of the model; its agents must hold the same weights.
        fixed_plan: the plan that the client gave.
        explain_only: stop after the plan.
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
        failures: epochs that failed in a row at ``begin_step`` while nobody was lost.
        usage: by agent.
        versions: software and model of all that took part, by agent.
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
    explain_only: bool
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
class Job:
    """An accepted request.

    Attributes:
        job: its name.
        image: its first picture; further ones have the seeds after it.
        count: pictures to make.
        facts: of the model; agents of the job must hold the same weights.
        notices: what the client should know of its texts, told with every plan.
        fixed_plan: the plan that the client gave.
        explain_only: stop after the plan of the first picture.
        accepted_s: when it was accepted.
        started_s: when its first picture left the queue; None while it waits.
        waiting: indices of the pictures that have not begun, ascending.
        pictures: those that are being made, by index.
        gang: how its pictures would be made by all agents together, as last searched; None before.
        left_out: agents that could not measure for it, or whose worker ended while it did, with the reason.
        gone_measuring: agents that were lost while they measured for it; one that is lost twice is left out.
    """

    job: JobId
    image: ImageSpec
    count: int
    facts: ModelFacts
    fixed_plan: Plan | None
    explain_only: bool
    accepted_s: float
    started_s: float | None = None
    waiting: tuple[int, ...]
    pictures: Mapping[int, Picture] = field(default_factory=dict[int, Picture])
    gang: Explanation | None = None
    notices: tuple[str, ...] = ()
    left_out: Mapping[AgentId, str] = field(default_factory=dict[AgentId, str])
    gone_measuring: frozenset[AgentId] = frozenset()

    def picture(self, index: int, phase: Phase) -> Picture:
        """One of its pictures, at its beginning."""
        return Picture(
            job=self.job,
            index=index,
            image=self.image.with_seed(self.image.seed + index),
            facts=self.facts,
            fixed_plan=self.fixed_plan,
            explain_only=self.explain_only,
            phase=phase,
        )
