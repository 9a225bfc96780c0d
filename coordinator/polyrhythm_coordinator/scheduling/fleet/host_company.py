"""Who works beside whom: devices of one host slow each other down. Pure."""

from __future__ import annotations

from polyrhythm.ids import AgentId
from polyrhythm_coordinator.scheduling.state.job import Picture, Running
from polyrhythm_coordinator.scheduling.state.state import State


def agents_at_work(state: State, *, but: Picture | None = None) -> frozenset[AgentId]:
    """Agents that compute pictures now, in any epoch: members without rows do not.

    Args:
        state: the present.
        but: what works on this picture does not count.
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
    """Whether one of those who work is another agent of the same host; nobody is known to be where no host is.

    The one rule by which forwards are planned, and what is reported of them is taken, at one speed or the other.
    """
    return not working.isdisjoint(_neighbours(state, name))


def computes_in_company(state: State, picture: Picture, name: AgentId) -> bool:
    """Whether others of an agent's host work on another picture now, or measure."""
    neighbours = _neighbours(state, name)
    if not neighbours:  # as on most hosts with one device: this comes with every report of a beat
        return False
    measuring = any(state.agents[other].measuring is not None for other in neighbours)
    return measuring or is_in_company(state, name, agents_at_work(state, but=picture))


def _neighbours(state: State, name: AgentId) -> frozenset[AgentId]:
    """Other agents of an agent's host."""
    host = state.agents[name].host
    return frozenset(agent.agent for agent in state.agents.values() if agent.host == host and agent.agent != name)
