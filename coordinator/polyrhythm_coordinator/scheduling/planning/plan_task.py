"""What the planner is asked, and its answer. Pure; it takes as long as a search, so no event loop may wait for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from polyrhythm.plan.explanation import Candidate, Exclusion, Explanation
from polyrhythm.plan.plan import Plan
from polyrhythm_coordinator.scheduling.planning.explanation import measured_links, notices, predicted
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.search import search_plan


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


def explanation_of(task: PlanTask) -> Explanation:
    """The answer to a plan task; agents that may not take part are told beside those that the search leaves out.

    Raises:
        PolyrhythmError: there is no plan.
    """
    explanation = search_plan(task.request) if task.fixed_plan is None else _given(task.fixed_plan, task.request)
    messages = (*task.notices, *notices(task.request, explanation.chosen.plan.agents, task.fixed_plan))
    return replace(explanation, exclusions=(*explanation.exclusions, *task.exclusions), notices=messages)


def _given(plan: Plan, request: PlanRequest) -> Explanation:
    """A plan that the client gave, with its prediction."""
    plan = replace(plan, version=request.version)
    chosen = Candidate(label="given plan", plan=plan, prediction=predicted(plan, request))
    return Explanation(
        chosen=chosen, runners_up=(), exclusions=(), profiles=request.profiles, links=measured_links(request, plan)
    )
