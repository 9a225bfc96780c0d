"""Plans seen from a larger gang, and the one plan that several in a row amount to. Pure; knows no cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from polyrhythm.ids import AgentId
from polyrhythm.plan.plan import Assignment, Plan, Segment
from polyrhythm.plan.rows import RowRange


def widened(segment: Segment, gang: tuple[AgentId, ...]) -> Segment:
    """The same rows, strides and beats in a larger gang: the others hold no rows.

    Args:
        segment: its members are in the gang.
        gang: in rank order.
    """
    held = {assignment.agent: assignment for assignment in segment.assignments}
    none = RowRange(begin=0, end=0)
    return replace(
        segment,
        assignments=tuple(held.get(agent) or Assignment(agent=agent, rows=none) for agent in gang),
    )


def followed_segments(plans: Sequence[Plan]) -> tuple[Segment, ...]:
    """What was really run: each plan up to the earliest step at which a later one took over."""
    followed: list[Segment] = []
    for index, plan in enumerate(plans):
        end_step = min((later.begin_step for later in plans[index + 1 :]), default=plan.steps)
        # A takeover in mid-segment happens at a boundary, so what is left of the segment is whole beats.
        followed += [
            replace(segment, end_step=min(segment.end_step, end_step))
            for segment in plan.segments
            if segment.begin_step < end_step
        ]
    return tuple(followed)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsTaken:
    """Forwards that the rows of a picture went through, out of so many steps that were asked for.

    Attributes:
        steps: of the schedule.
        fast_rows: forwards of the rows that went through most.
        slow_rows: forwards of the rows that went through fewest.
    """

    steps: int
    fast_rows: int
    slow_rows: int

    def __str__(self) -> str:
        """For people: ``50 steps``, ``25 of 50 steps``, ``50 steps on fast rows and 28 on slow ones``."""
        asked = "1 step" if self.steps == 1 else f"{self.steps} steps"
        fast = asked if self.fast_rows == self.steps else f"{self.fast_rows} of {asked}"
        return fast if self.slow_rows == self.fast_rows else f"{fast} on fast rows and {self.slow_rows} on slow ones"


def steps_taken(plans: Sequence[Plan]) -> StepsTaken:
    """How many forwards each row went through, the fewest and the most.

    Args:
        plans: in order, as for ``followed_segments``; the first one begins at step 0.
    """
    taken = [0] * plans[0].row_count
    for segment in followed_segments(plans):
        for held in segment.assignments:
            forwards = sum(len(beat.active_steps(held.agent)) for beat in segment.beats())
            for row in range(held.rows.begin, held.rows.end):
                taken[row] += forwards
    return StepsTaken(steps=plans[-1].steps, fast_rows=max(taken), slow_rows=min(taken))


def joined(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """The same beats in fewer segments: neighbours with the same rows and strides are one where their beats allow.

    Args:
        segments: in order, without gaps.
    """
    found: list[Segment] = []
    for segment in segments:
        both = _both(found[-1], segment) if found else None
        if both is None:
            found.append(segment)
        else:
            found[-1] = both
    return tuple(found)


def _both(one: Segment, other: Segment) -> Segment | None:
    """One segment with exactly the beats of two; None where there is none such."""
    if (one.exchange, one.assignments) != (other.exchange, other.assignments):
        return None
    beats = [*_bounds(one), *_bounds(other)]
    for beat_steps in (one.beat_steps, other.beat_steps, one.step_count):
        both = replace(one, end_step=other.end_step, beat_steps=beat_steps)
        if _bounds(both) == beats:
            return both
    return None


def _bounds(segment: Segment) -> list[tuple[int, int]]:
    return [(beat.begin_step, beat.end_step) for beat in segment.beats()]


def spliced(plans: Sequence[Plan]) -> Plan:
    """The one plan that makes the same picture as several that took over from one another.

    Whoever took part in any of them is a member throughout, without rows where it took none. It is the same picture
    because a plan that takes over begins with a synchronous step: nothing that a member of another gang computed before
    is read after it but the state at the boundary.

    Segments that differ in nothing are joined. A picture that was planned anew so often that the rest is more than a
    request may hold (``codec.bounds``) keeps its plan in its file, and cannot be asked for again by it.

    Args:
        plans: in order; the first one begins at step 0.

    Raises:
        ValueError: there is none, or they do not follow on one another.
    """
    segments = followed_segments(plans)
    if not segments:
        raise ValueError("no plan was followed")
    later = (agent for segment in segments[1:] for agent in segment.agents)
    gang = tuple(dict.fromkeys((*segments[0].agents, *later)))
    first = next(plan for plan in plans if plan.segments[0].agents == segments[0].agents)
    return Plan(
        version=1,
        begin_step=segments[0].begin_step,
        steps=plans[-1].steps,
        segments=joined(widened(segment, gang) for segment in segments),
        encoder=first.encoder,
        decoder=plans[-1].decoder,
    )
