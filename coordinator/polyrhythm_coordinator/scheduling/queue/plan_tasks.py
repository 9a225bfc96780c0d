"""Puts questions to the planner. Owns what is kept of a question while its answer is awaited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from polyrhythm.ids import AgentId
from polyrhythm.job.image import Objective
from polyrhythm.plan.explanation import Exclusion, Explanation
from polyrhythm.plan.plan import Plan
from polyrhythm_coordinator.scheduling.fleet.planner_inputs import plan_request, profiles_of
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask
from polyrhythm_coordinator.scheduling.state.effects import ComputePlan
from polyrhythm_coordinator.scheduling.state.job import Picture, Planning
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def ask_comparison(
    tx: Transaction, picture: Picture, agents: Sequence[AgentId], exclusions: tuple[Exclusion, ...]
) -> None:
    """Asks how a picture would be made by a gang, whoever is free: objectives are weighed afterwards."""
    task = _task(tx, picture, agents, exclusions)
    image = replace(picture.image, objective=Objective.LATENCY)
    task = replace(task, request=replace(task.request, image=image))
    _ask(tx, picture, Planning(number=tx.number(), task=task, compares=True))


def ask_plan(
    tx: Transaction,
    picture: Picture,
    agents: Sequence[AgentId],
    exclusions: tuple[Exclusion, ...],
    *,
    fixed_plan: Plan | None = None,
    expected_s: float,
    rival: Explanation | None = None,
    sharing: str = "",
    beside: frozenset[AgentId] = frozenset(),
) -> None:
    """Asks for a plan with these agents, which are kept free for it.

    Args:
        tx: the transition.
        picture: that is planned.
        agents: that may take part, in rank order.
        exclusions: of all others.
        fixed_plan: predict this plan instead of searching one.
        expected_s: rough seconds for which they will be busy.
        rival: the gang's plan that was decided against.
        sharing: why, in words.
        beside: others that begin other pictures at the same time.
    """
    planning = Planning(
        number=tx.number(),
        task=_task(tx, picture, agents, exclusions, fixed_plan, beside),
        # A plan that is only explained keeps nobody from work.
        reserves=frozenset[AgentId]() if picture.explain_only else frozenset(agents),
        expected_s=expected_s,
        rival=rival,
        sharing=sharing,
    )
    _ask(tx, picture, planning)


def _task(
    tx: Transaction,
    picture: Picture,
    agents: Sequence[AgentId],
    exclusions: tuple[Exclusion, ...],
    fixed_plan: Plan | None = None,
    beside: frozenset[AgentId] = frozenset(),
) -> PlanTask:
    profiles = profiles_of(tx.state, picture, agents, beside=beside)
    request = plan_request(tx.state, picture, profiles, picture.begin_step)
    notices = tx.state.jobs[picture.job].notices
    return PlanTask(request=request, exclusions=exclusions, fixed_plan=fixed_plan, notices=notices)


def _ask(tx: Transaction, picture: Picture, planning: Planning) -> None:
    tx.put_picture(replace(picture, phase=planning))
    tx.emit(ComputePlan(job=picture.job, number=planning.number, task=planning.task))
