"""What fake workers share of an epoch, who has reached which boundary, and what each holds of its plan."""

from __future__ import annotations

from dataclasses import dataclass, field

from polyrhythm.ids import AgentId, EpochId, JobId
from polyrhythm.plan.plan import Beat, Segment
from polyrhythm.session.commands import ExtendPlan, StartEpoch


@dataclass(slots=True)
class Meeting:
    """One epoch as its members see it together."""

    members: tuple[AgentId, ...]
    joined: set[AgentId] = field(default_factory=set[AgentId])
    arrived: dict[AgentId, int] = field(default_factory=dict[AgentId, int])
    cancels: dict[tuple[AgentId, int], bool] = field(default_factory=dict[tuple[AgentId, int], bool])
    newest: dict[tuple[AgentId, int], int] = field(default_factory=dict[tuple[AgentId, int], int])
    broken: str | None = None


class FakeFabric:
    """The data plane between fake workers.

    Attributes:
        meetings: by epoch.
        followed: beats that a picture, by job and seed, is made of, in order; made again after a loss, they count once.
    """

    def __init__(self) -> None:
        self.meetings: dict[EpochId, Meeting] = {}
        self.followed: dict[tuple[JobId, int], list[Beat]] = {}

    def meeting(self, command: StartEpoch) -> Meeting:
        """The meeting of an epoch; its first member opens it."""
        return self.meetings.setdefault(command.epoch, Meeting(members=command.members))

    def follow(self, command: StartEpoch, beat: Beat) -> None:
        """A member has reached the end of a beat together with all others."""
        picture = command.job, command.image.seed
        before = [other for other in self.followed.get(picture, []) if other.begin_step < beat.begin_step]
        self.followed[picture] = [*before, beat]

    def break_off(self, agent: AgentId) -> None:
        """A member's process has died: its peers see a closed connection."""
        for meeting in self.meetings.values():
            if agent in meeting.members and meeting.broken is None:
                meeting.broken = f"peer {agent} vanished"


@dataclass(slots=True)
class PlanVersion:
    """What a worker holds of one plan version."""

    segments: list[Segment]
    complete: bool

    def beat(self, step: int) -> Beat | None:
        """The beat that begins at a step; None if it is not known."""
        return next((beat for segment in self.segments for beat in segment.beats() if beat.begin_step == step), None)


@dataclass(slots=True)
class EpochRun:
    """One worker's way through an epoch."""

    command: StartEpoch
    versions: dict[int, PlanVersion]
    version: int
    agreed: int
    step: int
    beat: Beat | None = None
    following_version: int = 0
    joined: bool = False
    arrived: bool = False
    cancelled: bool = False
    aborted: str | None = None

    def extend(self, command: ExtendPlan) -> None:
        """Takes further segments of a version, or the first ones of a newer one."""
        held = self.versions.setdefault(command.plan_version, PlanVersion([], complete=False))
        assert not held.segments or command.segments[0].begin_step == held.segments[-1].end_step
        held.segments.extend(command.segments)
        held.complete = held.complete or command.complete

    def version_at(self, step: int) -> int:
        """Which version a beat that begins at a step belongs to: a newer one takes over at its first step or never."""
        newer = self.agreed != self.version and self.versions[self.agreed].segments[0].begin_step == step
        return self.agreed if newer else self.version
