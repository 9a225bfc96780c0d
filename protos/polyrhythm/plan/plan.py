"""What is computed where and when: plans, segments, assignments, beats (STADI; the segment form is this project's own).

All agents index one fine grid of timesteps ``0 .. steps``. A plan is a list of segments covering all remaining
steps; rows and strides may differ between segments. Pure data with its invariants; knows neither cost nor transport.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import lcm

from polyrhythm.ids import AgentId
from polyrhythm.plan.rows import RowRange, is_partition


class Exchange(StrEnum):
    """How a segment's steps see the activations of other agents' rows."""

    SYNCHRONOUS = "synchronous"
    """Every step reads all rows of the same step: the arithmetic of one device."""
    DISPLACED = "displaced"
    """Every step reads others' rows from their last active step before it (DistriFusion's stale activations)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One agent's share of a segment.

    Attributes:
        agent: who.
        rows: which row units of the image.
        stride: fine steps that one active step of this agent advances.
    """

    agent: AgentId
    rows: RowRange
    stride: int = 1

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise ValueError(f"stride of {self.agent} must be at least 1: {self.stride}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Consecutive fine steps with one set of assignments.

    Attributes:
        begin_step: first fine step, inclusive.
        end_step: last fine step, exclusive.
        beat_steps: fine steps between two boundaries; a multiple of every stride. The last beat may be shorter.
        exchange: how other agents' rows are seen.
        assignments: one for each member of the gang, in gang order; their rows partition the image.
    """

    begin_step: int
    end_step: int
    beat_steps: int
    exchange: Exchange
    assignments: tuple[Assignment, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.begin_step < self.end_step:
            raise ValueError(f"segment must satisfy 0 <= begin < end: [{self.begin_step}, {self.end_step})")
        if not self.assignments:
            raise ValueError("segment has no assignments")
        if len({a.agent for a in self.assignments}) != len(self.assignments):
            raise ValueError(f"segment names an agent twice: {[a.agent for a in self.assignments]}")
        if not is_partition((a.rows for a in self.assignments), self.row_count):
            raise ValueError(f"rows do not partition the image: {[str(a.rows) for a in self.assignments]}")
        interval = self.interval_steps
        if self.exchange is Exchange.SYNCHRONOUS and interval != 1:
            raise ValueError(f"a synchronous segment takes stride 1 everywhere: {self.strides}")
        if self.beat_steps < 1 or self.beat_steps % interval or self.step_count % interval:
            raise ValueError(
                f"beat of {self.beat_steps} and length {self.step_count} must be multiples of the interval {interval}"
            )

    @property
    def row_count(self) -> int:
        """Row units of the whole image."""
        return max(a.rows.end for a in self.assignments)

    @property
    def step_count(self) -> int:
        """Fine steps covered."""
        return self.end_step - self.begin_step

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides in gang order, drained agents included."""
        return tuple(a.stride for a in self.assignments)

    @property
    def interval_steps(self) -> int:
        """Least common multiple of the strides: after so many fine steps all agents meet."""
        return lcm(*(a.stride for a in self.assignments))

    @property
    def reads_stale(self) -> bool:
        """Whether steps read what other members computed before: not where one of them holds all rows."""
        return self.exchange is Exchange.DISPLACED and sum(a.rows.count > 0 for a in self.assignments) > 1

    @property
    def agents(self) -> tuple[AgentId, ...]:
        """Members in gang order."""
        return tuple(a.agent for a in self.assignments)

    def of(self, agent: AgentId) -> Assignment:
        """The assignment of one member.

        Raises:
            KeyError: the agent is no member.
        """
        for assignment in self.assignments:
            if assignment.agent == agent:
                return assignment
        raise KeyError(agent)

    def beats(self) -> Iterator[Beat]:
        """The segment cut at its boundaries."""
        for begin in range(self.begin_step, self.end_step, self.beat_steps):
            yield Beat(begin_step=begin, end_step=min(begin + self.beat_steps, self.end_step), segment=self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The steps between two boundaries of one segment: no collective happens inside, everybody meets at the end."""

    begin_step: int
    end_step: int
    segment: Segment

    def active_steps(self, agent: AgentId) -> tuple[int, ...]:
        """Fine steps at which the agent runs a forward; empty for an agent without rows."""
        assignment = self.segment.of(agent)
        if not assignment.rows.count:
            return ()
        return tuple(range(self.begin_step, self.end_step, assignment.stride))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All remaining steps of one image on one gang.

    Attributes:
        version: counts re-plans of one job, from 1.
        begin_step: first fine step of this plan: 0, or the boundary at which an epoch resumes.
        steps: fine steps of the whole image; the plan ends there.
        segments: in order, without gaps. The first one is synchronous if several members hold its rows, because
            no stale activations exist at the start of an epoch.
        encoder: the member that encodes the prompt.
        decoder: the member that decodes the latent.
    """

    version: int
    begin_step: int
    steps: int
    segments: tuple[Segment, ...]
    encoder: AgentId
    decoder: AgentId

    def __post_init__(self) -> None:
        if self.version < 1:
            raise ValueError(f"plan version must be at least 1: {self.version}")
        if not self.segments:
            raise ValueError("plan has no segments")
        step = self.begin_step
        for segment in self.segments:
            if segment.begin_step != step:
                raise ValueError(f"segment begins at {segment.begin_step}, expected {step}")
            if segment.agents != self.agents:
                raise ValueError(f"members differ between segments: {segment.agents} and {self.agents}")
            if segment.row_count != self.row_count:
                raise ValueError(f"image height differs between segments: {segment.row_count} and {self.row_count}")
            step = segment.end_step
        if step != self.steps:
            raise ValueError(f"plan ends at step {step}, the image has {self.steps}")
        if self.segments[0].reads_stale:
            raise ValueError("the first segment of a plan for several agents must be synchronous")
        for role, agent in (("encoder", self.encoder), ("decoder", self.decoder)):
            if agent not in self.agents:
                raise ValueError(f"{role} {agent} is no member of {self.agents}")

    @property
    def agents(self) -> tuple[AgentId, ...]:
        """The gang, in rank order."""
        return self.segments[0].agents

    @property
    def row_count(self) -> int:
        """Row units of the image."""
        return self.segments[0].row_count

    def beats(self) -> Iterator[Beat]:
        """All beats of all segments, in order."""
        for segment in self.segments:
            yield from segment.beats()
