"""Agents that were lost on a picture get a second chance where nobody else is left to make it. Pure.

One loss does not end a picture: a picture is given up after its second dead worker (``giving_up``). As long as others
can make it, a lost agent takes no part; then it goes on as soon as it is back. A second loss of the same agent is for
good, so that a picture over which streams break ends as well.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm_coordinator.scheduling.fleet.decision import Decision, GiveUp, KeepWaiting, decide
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.phases import Preparing
from polyrhythm_coordinator.scheduling.state.state import State


def with_second_chances(picture: Picture) -> Picture | None:
    """The picture with all agents readmitted that it lost once; None if there are none."""
    once = {agent: reason for agent, reason in picture.lost.items() if agent not in picture.readmitted}
    if not once:
        return None
    lost = {agent: reason for agent, reason in picture.lost.items() if agent not in once}
    return replace(picture, lost=lost, readmitted={**picture.readmitted, **once})


def decided(state: State, picture: Picture, phase: Preparing, now_s: float) -> tuple[Picture, Decision]:
    """What to do next for a picture that needs a plan.

    Returns:
        The picture, with second chances given if nobody else is left but drained agents; what to do.
    """
    decision = decide(state, picture, phase, now_s)
    nobody = isinstance(decision, GiveUp) or (isinstance(decision, KeepWaiting) and decision.for_drained)
    again = with_second_chances(picture) if nobody else None
    return (picture, decision) if again is None else (again, decide(state, again, phase, now_s))
