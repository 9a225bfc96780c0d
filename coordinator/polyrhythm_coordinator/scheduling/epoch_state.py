"""Epochs as the core knows them, frozen: one uninterrupted run of one gang on one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from polyrhythm.ids import AgentId, EpochId, GangId, JobId
from polyrhythm.messages import EpochEnded
from polyrhythm.plan import Plan
from polyrhythm_coordinator.scheduling.forecast import Forecast


class EpochStage(StrEnum):
    """Closed set of what is being done with an epoch."""

    FORMING = "forming"
    """Members form the gang and share the condition."""
    RUNNING = "running"
    """Members denoise and decode."""
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
    """

    joined: bool = False
    step: int
    boundary: int
    ended: EpochEnded | None = None
    lost: str | None = None

    @property
    def gone(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.ended is not None or self.lost is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One run.

    Attributes:
        epoch: its name.
        gang: process group in use.
        job: whose picture.
        plan: what is followed.
        forecast: what the plan should cost, moment by moment.
        segments_sent: how many of the plan's segments the members hold.
        members: in rank order.
        stage: what is being done with it.
        needs_bytes: memory that each member is predicted to hold at most, weights included.
        deadline_s: when the stage has taken too long; moves on with every sign of progress while it forms and runs.
        cause: why it is being aborted.
        parts: of the PNG file, as far as they have come.
        picture_made: whether the whole file has come.
    """

    epoch: EpochId
    gang: GangId
    job: JobId
    plan: Plan
    forecast: Forecast
    segments_sent: int
    members: Mapping[AgentId, MemberRun]
    stage: EpochStage
    deadline_s: float
    needs_bytes: Mapping[AgentId, int] = field(default_factory=dict[AgentId, int])
    cause: str = ""
    parts: tuple[bytes, ...] = ()
    picture_made: bool = False

    @property
    def step(self) -> int:
        """Fine steps behind all members."""
        return min(run.step for run in self.members.values())
