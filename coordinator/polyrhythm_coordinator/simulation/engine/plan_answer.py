"""What the core hears of a plan that it has asked for, where no thread stands between it and the planner."""

from __future__ import annotations

from collections.abc import Callable

from polyrhythm.errors import PolyrhythmError
from polyrhythm.plan.explanation import Explanation
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask
from polyrhythm_coordinator.scheduling.state.effects import ComputePlan
from polyrhythm_coordinator.scheduling.state.events import PlanComputed, PlanFailed


def plan_answer(asked: ComputePlan, planner: Callable[[PlanTask], Explanation]) -> PlanComputed | PlanFailed:
    """The planner's answer as an event; what it raises of this project's errors is one, too."""
    try:
        explanation = planner(asked.task)
    except PolyrhythmError as error:
        return PlanFailed(job=asked.job, number=asked.number, error=error)
    return PlanComputed(job=asked.job, number=asked.number, explanation=explanation)
