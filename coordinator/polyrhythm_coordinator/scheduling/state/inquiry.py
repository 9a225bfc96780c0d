"""Questions how pictures would be made, as the core knows them, frozen. None is a job: nothing is made for it."""

from __future__ import annotations

from dataclasses import dataclass

from polyrhythm.errors import NoAgentsError
from polyrhythm.ids import AgentId, JobId
from polyrhythm.plan.explanation import Exclusion, Explanation
from polyrhythm_coordinator.scheduling.state.job import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class GangAsked:
    """The planner is asked how all agents together would make the first picture.

    Attributes:
        number: of the ComputePlan.
        agents: all together.
        exclusions: of all who may take no part.
    """

    number: int
    agents: frozenset[AgentId]
    exclusions: tuple[Exclusion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerAsked:
    """The planner is asked for the plan that answers the question.

    Attributes:
        number: of the ComputePlan.
        rival: the gang's plan that was decided against; None if there was no choice.
        sharing: why, in words.
    """

    number: int
    rival: Explanation | None = None
    sharing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPlan:
    """There was no plan with some agents."""

    agents: frozenset[AgentId]
    error: NoAgentsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry(Wanted):
    """A client wants to know how pictures would be made if nobody worked on anything else.

    Attributes:
        behind: jobs that were in the queue when it came; their pictures come before what is measured for it.
        since_s: when it came, or when it last waited for something else than loading.
        asked: what the planner is asked now.
        no_plan: with whom there was none.
        deaths: workers that ended while they measured for it, and how.
    """

    behind: frozenset[JobId]
    since_s: float
    asked: GangAsked | AnswerAsked | None = None
    no_plan: NoPlan | None = None
    deaths: tuple[str, ...] = ()
