"""Who could begin something now, and with that all on which a decision to wait rests. Pure."""

from __future__ import annotations

from itertools import islice

from polyrhythm.ids import AgentId
from polyrhythm_coordinator.scheduling.fleet.eligibility import bar_of, of_fleet
from polyrhythm_coordinator.scheduling.state.phases import Situation
from polyrhythm_coordinator.scheduling.state.state import State

LOOKED_AT_MAX = 64
"""Pictures that are looked at together; what is decided about one of them hardly depends on those far behind it."""


def free_agents(state: State) -> frozenset[AgentId]:
    """Agents that could begin something now."""
    view = of_fleet(state)
    return frozenset(name for name in state.agents if bar_of(view, name) is None)


def situation(state: State) -> Situation:
    """What a decision to wait rests on."""
    free = free_agents(state)
    waiting = ((name, index) for name in state.queue for index in state.jobs[name].waiting)
    return Situation(
        free=free,
        busy=frozenset((name, agent.epoch) for name, agent in state.agents.items() if name not in free),
        drained=state.drained,
        waiting=tuple(islice(waiting, LOOKED_AT_MAX)),
    )
