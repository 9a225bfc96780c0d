"""Epochs as the core knows them, frozen: one uninterrupted run of one gang on one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from polyrhythm.ids import AgentId, EpochId, GangId, JobId
from polyrhythm.job.events import ReplanReason
from polyrhythm.plan.plan import Plan
from polyrhythm.session.events import EpochEnded
from polyrhythm_coordinator.scheduling.planning.forecast import Forecast
from polyrhythm_coordinator.scheduling.state.events import BlobId
from polyrhythm_coordinator.scheduling.state.replan import ReplanState


class EpochStage(StrEnum):
    """Closed set of what is being done with an epoch."""

    FORMING = "forming"
    """Members form the gang and share the condition."""
    RUNNING = "running"
    """Members denoise and decode."""
    HANDING_OVER = "handing_over"
    """Members were asked to stop at a boundary, from which another gang goes on."""
    CANCELLING = "cancelling"
    """Members were asked to stop at a boundary."""
    ABORTING = "aborting"
    """Members were told to stop at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRun:
    """One member's part.

    Attributes:
        joined: whether it has formed the gang.
        step: fine steps behind it.
        boundary: the last boundary it has completed.
        ended: how it left; None while it runs.
        lost: why it is lost; None while it is not.
        died: whether it is lost because its worker ended while its agent lives on.
        in_company: whether others of its host worked on something else when it last reported.
    """

    joined: bool = False
    step: int
    boundary: int
    ended: EpochEnded | None = None
    lost: str | None = None
    died: bool = False
    in_company: bool = False

    @property
    def gone(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.ended is not None or self.lost is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class IncompleteFile:
    """A picture's file, as far as it has come.

    Attributes:
        blob: under which the edge keeps it.
        parts: that have come.
        size_bytes: of all of these.
    """

    blob: BlobId
    parts: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One run.

    Attributes:
        epoch: its name.
        gang: process group in use.
        job: whose picture.
        image_index: which of the job's pictures.
        plan: what is followed, as far as is known.
        forecast: what the plan should cost, moment by moment.
        begin_step: where the first of its plans began.
        versions: every plan that members followed or follow, by version: their reports may be of an earlier one.
        replan: about another plan for the rest.
        reported_s: when the newest boundary was reported, or the members had joined, by the clock.
        report_age_s: how old that report may have been by then.
        segments_sent: how many of the plan's segments the members hold.
        members: in rank order.
        stage: what is being done with it.
        needs_bytes: memory that each member is predicted to hold at most, weights included.
        deadline_s: when, as patience counts, the stage has taken too long; moves on with every sign of progress while
            it forms and runs.
        cause: why it is being aborted.
        handover: why it is being handed over, once it is.
        joining: agents that wait for the handover.
        file: of the picture, once it comes and until it is whole.
        picture_made: whether the whole file has come.
    """

    epoch: EpochId
    gang: GangId
    job: JobId
    image_index: int
    plan: Plan
    forecast: Forecast
    begin_step: int
    versions: Mapping[int, Plan]
    replan: ReplanState
    reported_s: float
    segments_sent: int
    members: Mapping[AgentId, MemberRun]
    stage: EpochStage
    deadline_s: float
    needs_bytes: Mapping[AgentId, int] = field(default_factory=dict[AgentId, int])
    cause: str = ""
    handover: ReplanReason | None = None
    joining: frozenset[AgentId] = frozenset()
    file: IncompleteFile | None = None
    picture_made: bool = False
    report_age_s: float = 0.0

    @property
    def present(self) -> tuple[AgentId, ...]:
        """Members of which more is expected."""
        return tuple(agent for agent, run in self.members.items() if not run.gone)

    @property
    def step(self) -> int:
        """Fine steps behind all members."""
        return min(run.step for run in self.members.values())

    @property
    def boundary(self) -> int:
        """Newest boundary that a member has reported."""
        return max(run.boundary for run in self.members.values())

    def with_run(self, agent: AgentId, run: MemberRun) -> Epoch:
        """The same with another account of a member."""
        return replace(self, members={**self.members, agent: run})
