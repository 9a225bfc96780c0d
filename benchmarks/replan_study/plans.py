"""The plans that knew: what the planner would do with profiles that were measured under the load. Pure."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from latency_study.variants import Measured

from polyrhythm.job.image import ImageSpec
from polyrhythm.plan.gang_plan import spliced
from polyrhythm.plan.plan import Plan
from polyrhythm_coordinator.scheduling.planning.search import search_plan


class Way(StrEnum):
    """What is compared, in the order in which it is shown."""

    NO_REPLAN = "no re-plan"
    """The first plan to its end, whatever happens."""
    REPLAN = "re-plan"
    """The product's default."""
    AT_ONCE = "oracle at once"
    """The first plan up to the load, from there on the best one for the loaded devices."""
    FROM_START = "oracle from the start"
    """The best plan for the loaded devices, from the first step on."""


ORACLES = (Way.AT_ONCE, Way.FROM_START)


def load_boundary(first: Plan, moment: float) -> int:
    """The first boundary of a plan at which a load of that moment is there; the last one before the end at most."""
    steps = [beat.end_step for beat in first.beats()][:-1] or [first.begin_step]
    return next((step for step in steps if step >= moment * first.steps), steps[-1])


def oracle_at_once(first: Plan, loaded: Measured, image: ImageSpec, moment: float) -> Plan:
    """The first plan up to the load; then the planner's, from profiles measured under the load.

    Args:
        first: what was planned without any load.
        loaded: profiles and links under the load.
        image: the picture.
        moment: of the load, as a share of the picture.
    """
    boundary = load_boundary(first, moment)
    if boundary == first.begin_step:
        return oracle_from_start(loaded, image)
    request = replace(loaded.request(image), begin_step=boundary, version=first.version + 1)
    return spliced((first, search_plan(request).chosen.plan))


def oracle_from_start(loaded: Measured, image: ImageSpec) -> Plan:
    """The planner's choice from profiles measured under the load, for the whole picture."""
    return search_plan(loaded.request(image)).chosen.plan
