"""Who could take part in a running picture: members that hold rows or may get some, and agents that wait. Pure."""

from __future__ import annotations

from polyrhythm.ids import AgentId
from polyrhythm_coordinator.scheduling.fleet.eligibility import key_of, mismatch
from polyrhythm_coordinator.scheduling.fleet.reservations import promised_agents
from polyrhythm_coordinator.scheduling.state.job import Picture, Running
from polyrhythm_coordinator.scheduling.state.state import Agent, State


def available(state: State, picture: Picture) -> tuple[AgentId, ...]:
    """Agents whose speed is known and that could compute rows of this picture, sorted by name."""
    return tuple(name for name in _able(state, picture) if key_of(state.agents[name], picture) in state.profiles)


def unmeasured(state: State, picture: Picture) -> tuple[AgentId, ...]:
    """Agents that would be available if their speed were known."""
    return tuple(name for name in _able(state, picture) if key_of(state.agents[name], picture) not in state.profiles)


def _able(state: State, picture: Picture) -> tuple[AgentId, ...]:
    promised = promised_agents(state)
    return tuple(
        name for name in sorted(state.agents) if name not in promised and _is_able(state, picture, state.agents[name])
    )


def _is_able(state: State, picture: Picture, agent: Agent) -> bool:
    here = isinstance(picture.phase, Running) and agent.epoch == picture.phase.epoch
    return (
        agent.worker_ready
        and agent.measuring is None
        and mismatch(agent, picture) is None
        and (here or agent.epoch is None)
        and agent.agent not in state.drained
        and agent.agent not in picture.lost
        and agent.agent not in state.jobs[picture.job].left_out
        and picture.image.overrides.allows(agent.agent)
    )
