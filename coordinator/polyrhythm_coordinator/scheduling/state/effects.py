"""What the scheduling core wants done. The interpreter carries these out in order; nothing here does anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from polyrhythm.errors import PolyrhythmError
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import JobEvent
from polyrhythm.plan.explanation import Exclusion
from polyrhythm.plan.plan import Plan
from polyrhythm.session.messages import AgentCommand
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.state.events import SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class SendCommand:
    """Send a command down an agent's stream."""

    agent: AgentId
    session: SessionId
    command: AgentCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class DisconnectAgent:
    """End an agent's stream with an error: it is refused, lost, or the coordinator stops."""

    agent: AgentId
    session: SessionId
    error: PolyrhythmError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Tell a job's client what happened."""

    job: JobId
    event: JobEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class EndJob:
    """The job is done; its client's stream ends well. Nothing is told to it afterwards."""

    job: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class FailJob:
    """The job has ended with an error. Nothing is told to its client afterwards."""

    job: JobId
    error: PolyrhythmError


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTask:
    """All that a plan is made of.

    Attributes:
        request: the picture, the agents that may take part, and what they cost.
        exclusions: agents that may not take part, with the reason.
        fixed_plan: predict this plan instead of searching one.
        notices: what the client is to be told beside those that follow from the plan.
    """

    request: PlanRequest
    exclusions: tuple[Exclusion, ...]
    fixed_plan: Plan | None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputePlan:
    """Search a plan off the event loop; answered by ``PlanComputed`` or ``PlanFailed`` of the same number."""

    job: JobId
    number: int
    task: PlanTask


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessChanged:
    """Whether at least one agent can take work."""

    ready: bool


Effect: TypeAlias = SendCommand | DisconnectAgent | Tell | EndJob | FailJob | ComputePlan | ReadinessChanged
