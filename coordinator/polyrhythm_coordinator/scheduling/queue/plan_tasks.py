"""Puts questions about pictures to the planner, and keeps what was asked while the answer is awaited."""

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
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.phases import Comparing, Planning
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def ask_comparison(
    tx: Transaction, picture: Picture, agents: Sequence[AgentId], exclusions: tuple[Exclusion, ...]
) -> None:
    """Asks how a picture would be made by a gang, whoever is free: objectives are weighed afterwards."""
    task = for_gang(plan_task(tx.state, picture, agents, exclusions))
    _ask(tx, picture, Comparing(number=tx.number(), task=task))


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
        tx: the transaction.
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
        task=plan_task(tx.state, picture, agents, exclusions, fixed_plan=fixed_plan, beside=beside),
        reserves=frozenset(agents),
        expected_s=expected_s,
        rival=rival,
        sharing=sharing,
    )
    _ask(tx, picture, planning)


def plan_task(
    state: State,
    picture: Picture,
    agents: Sequence[AgentId],
    exclusions: tuple[Exclusion, ...],
    *,
    fixed_plan: Plan | None = None,
    beside: frozenset[AgentId] = frozenset(),
) -> PlanTask:
    """What the planner is asked about a picture; the arguments are those of ``ask_plan``."""
    profiles = profiles_of(state, picture, agents, beside=beside)
    request = plan_request(state, picture, profiles, picture.begin_step)
    notices = state.wanted(picture.job).notices
    return PlanTask(request=request, exclusions=exclusions, fixed_plan=fixed_plan, notices=notices)


def for_gang(task: PlanTask) -> PlanTask:
    """The same where all agents are to make the picture together, whatever its objective."""
    image = replace(task.request.image, objective=Objective.LATENCY)
    return replace(task, request=replace(task.request, image=image))


def _ask(tx: Transaction, picture: Picture, phase: Comparing | Planning) -> None:
    tx.put_picture(replace(picture, phase=phase, holders_only=False))
    tx.emit(ComputePlan(job=picture.job, number=phase.number, task=phase.task))
