"""What is being done about a picture, a small type for each, frozen. Functions take the phase that they are for."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TypeAlias

from polyrhythm.ids import AgentId, EpochId, JobId
from polyrhythm.plan.explanation import Explanation
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything on which it depends whether a picture begins now or waits.

    Attributes:
        free: agents that could begin something.
        busy: all others that are connected, each with what it works on.
        drained: agents that take no work.
        waiting: the next pictures in the queue, as many as are looked at together.
    """

    free: frozenset[AgentId]
    busy: frozenset[tuple[AgentId, EpochId | None]]
    drained: frozenset[AgentId]
    waiting: tuple[tuple[JobId, int], ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """It waits for those before it, and nothing is done about it yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparing:
    """Its next plan needs ready agents and their profiles.

    Attributes:
        since_s: when this began, or when it last waited for something else than loading.
    """

    since_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """It is better to wait: for devices that are busy, or for some that are expected.

    Attributes:
        situation: in which that was found.
        until_s: when it is looked at again even if the situation is the same.
    """

    situation: Situation
    until_s: float = inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """All that could make it are drained, so others need not wait for it.

    Attributes:
        situation: in which that was found.
        until_s: when it is looked at again even if the situation is the same.
    """

    situation: Situation
    until_s: float = inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparing:
    """The planner is asked what a gang of everybody would take; by whom the picture is made is decided then.

    Attributes:
        number: of the ComputePlan.
        task: what is asked.
    """

    number: int
    task: PlanTask


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """The plan that is to be followed is being computed.

    Attributes:
        number: of the ComputePlan.
        task: what is asked.
        reserves: agents that are kept free for the answer.
        expected_s: rough seconds for which they will be busy, once they begin.
        rival: the gang's plan that was decided against; None if there was no choice.
        sharing: why, in words.
    """

    number: int
    task: PlanTask
    reserves: frozenset[AgentId]
    expected_s: float
    rival: Explanation | None = None
    sharing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A gang works on it, or is being ended."""

    epoch: EpochId


Unplanned: TypeAlias = Preparing | Held | Shelved
"""Phases of a picture that has left the queue and for which the planner is not asked yet."""
Phase: TypeAlias = Waiting | Unplanned | Comparing | Planning | Running
