"""Agents that were lost on a picture: as long as others can make it they take no part in it, and then once more. Pure.

A picture that ends workers is given up after the second one (``giving_up``), so one loss alone ends none: where nobody
else is left, whoever was lost goes on with it as soon as it is back. A second loss of an agent is for good, however it
came about, so that a picture over which streams end comes to an end as well.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm_coordinator.scheduling.fleet.decision import Decision, GiveUp, KeepWaiting, decide
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.state import State


def with_second_chances(picture: Picture) -> Picture | None:
    """The picture with all that were lost on it once taking part again; None where there are none."""
    once = {agent: reason for agent, reason in picture.lost.items() if agent not in picture.readmitted}
    if not once:
        return None
    lost = {agent: reason for agent, reason in picture.lost.items() if agent not in once}
    return replace(picture, lost=lost, readmitted={**picture.readmitted, **once})


def decided(state: State, picture: Picture, now_s: float) -> tuple[Picture, Decision]:
    """What to do next for a picture that needs a plan.

    Returns:
        The picture, on which whoever was lost takes part again where nobody else is left; what to do.
    """
    decision = decide(state, picture, now_s)
    again = with_second_chances(picture) if _leaves_it_to_nobody(decision) else None
    return (picture, decision) if again is None else (again, decide(state, again, now_s))


def _leaves_it_to_nobody(decision: Decision) -> bool:
    """Nor to whoever is drained, who may be so for ever."""
    match decision:
        case GiveUp():
            return True
        case KeepWaiting(for_drained=for_drained):
            return for_drained
        case _:
            return False
