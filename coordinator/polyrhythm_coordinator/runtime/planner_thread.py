"""Carries out plan tasks. Owns the thread that they run in, so that no search holds up the event loop."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from polyrhythm.plan.explanation import Candidate, Explanation
from polyrhythm.plan.plan import Plan
from polyrhythm_coordinator.scheduling.planning.explanation import measured_links, notices, predicted
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.search import search_plan
from polyrhythm_coordinator.scheduling.state.effects import PlanTask


async def compute_plan(task: PlanTask) -> Explanation:
    """Searches a plan, or predicts the given one, off the event loop.

    Raises:
        PolyrhythmError: there is no plan.
    """
    return await asyncio.to_thread(explanation_of, task)


def explanation_of(task: PlanTask) -> Explanation:
    """The answer to a plan task; agents that may not take part are told beside those that the search leaves out."""
    explanation = search_plan(task.request) if task.fixed_plan is None else _given(task.fixed_plan, task.request)
    told = (*task.notices, *notices(task.request, explanation.chosen.plan.agents, task.fixed_plan))
    return replace(explanation, exclusions=(*explanation.exclusions, *task.exclusions), notices=told)


def _given(plan: Plan, request: PlanRequest) -> Explanation:
    """A plan that the client gave, with its prediction."""
    plan = replace(plan, version=request.version)
    chosen = Candidate(label="given plan", plan=plan, prediction=predicted(plan, request))
    return Explanation(
        chosen=chosen, runners_up=(), exclusions=(), profiles=request.profiles, links=measured_links(request, plan)
    )
