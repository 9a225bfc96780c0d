"""Who works beside whom: devices of one host slow each other down. Pure."""

from __future__ import annotations

from polyrhythm.ids import AgentId
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.phases import Running
from polyrhythm_coordinator.scheduling.state.state import State


def agents_at_work(state: State, *, but: Picture | None = None) -> frozenset[AgentId]:
    """Agents that compute rows of a picture now.

    Args:
        state: the present.
        but: those that work on this picture do not count.
    """
    own = but.phase.epoch if but is not None and isinstance(but.phase, Running) else None
    return frozenset(
        share.agent
        for name, epoch in state.epochs.items()
        if name != own
        for segment in epoch.plan.segments
        for share in segment.assignments
        if share.rows.count and not epoch.members[share.agent].gone
    )


def is_in_company(state: State, name: AgentId, working: frozenset[AgentId]) -> bool:
    """Whether another agent of the same host is among those that work.

    The one rule that picks the speed (alone, or beside others) at which forwards are planned and reports are read.
    """
    return not working.isdisjoint(neighbours(state, name))


def computes_in_company(state: State, picture: Picture, name: AgentId) -> bool:
    """Whether others of an agent's host work on another picture now, or measure."""
    others = neighbours(state, name)
    if not others:  # the usual case, decided fast: this is asked with every report of a beat
        return False
    measuring = any(state.agents[other].measuring is not None for other in others)
    return measuring or is_in_company(state, name, agents_at_work(state, but=picture))


def neighbours(state: State, name: AgentId) -> frozenset[AgentId]:
    """Other connected agents of an agent's host; none where the host is not known."""
    host = state.agents[name].host
    return frozenset(agent.agent for agent in state.agents.values() if agent.host == host and agent.agent != name)
