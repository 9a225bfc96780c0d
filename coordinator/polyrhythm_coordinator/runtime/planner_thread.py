"""Carries out plan tasks. Owns the thread that they run in, so that no search holds up the event loop."""

from __future__ import annotations

import asyncio

from polyrhythm.plan.explanation import Explanation
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask, explanation_of


async def compute_plan(task: PlanTask) -> Explanation:
    """Searches a plan, or predicts the given one, off the event loop.

    Raises:
        PolyrhythmError: there is no plan.
    """
    return await asyncio.to_thread(explanation_of, task)
