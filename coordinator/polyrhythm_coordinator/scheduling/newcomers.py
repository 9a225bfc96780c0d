"""Who could take part in a running picture: members that hold rows or may get some, and agents that wait. Pure."""

from __future__ import annotations

from polyrhythm.ids import AgentId
from polyrhythm_coordinator.scheduling.job_state import Job, Running
from polyrhythm_coordinator.scheduling.pool import key_of, mismatch
from polyrhythm_coordinator.scheduling.state import Agent, State


def available(state: State, job: Job) -> tuple[AgentId, ...]:
    """Agents whose speed is known and that could compute rows of this picture, sorted by name."""
    return tuple(name for name in _able(state, job) if key_of(state.agents[name], job) in state.profiles)


def unmeasured(state: State, job: Job) -> tuple[AgentId, ...]:
    """Agents that would be available if their speed were known."""
    return tuple(name for name in _able(state, job) if key_of(state.agents[name], job) not in state.profiles)


def _able(state: State, job: Job) -> tuple[AgentId, ...]:
    return tuple(name for name in sorted(state.agents) if _is_able(state, job, state.agents[name]))


def _is_able(state: State, job: Job, agent: Agent) -> bool:
    here = isinstance(job.phase, Running) and agent.epoch == job.phase.epoch
    return (
        agent.worker_ready
        and agent.measuring is None
        and mismatch(agent, job) is None
        and (here or agent.epoch is None)
        and agent.agent not in state.drained
        and agent.agent not in job.picture.lost
        and job.picture.image.overrides.allows(agent.agent)
    )
