"""Which agents could begin something, which are promised to a picture, and how long the others still work. Pure."""

from __future__ import annotations

from itertools import islice
from typing import assert_never

from polyrhythm.ids import AgentId
from polyrhythm_coordinator.scheduling.state.epoch import Epoch, EpochStage
from polyrhythm_coordinator.scheduling.state.job import Picture, Planning, Running, Situation
from polyrhythm_coordinator.scheduling.state.state import State

LOT_MAX = 64
"""Pictures that are looked at together; what is decided about one of them hardly depends on those far behind it."""


def promised_agents(state: State, *, but: Picture | None = None) -> frozenset[AgentId]:
    """Agents that are in no epoch, and yet not free: a plan is computed for them, or they wait to join a picture.

    Args:
        state: the present.
        but: what is promised to this picture does not count.
    """
    planned = (
        picture.phase.reserves
        for picture in state.pictures
        if isinstance(picture.phase, Planning) and not _is_same(picture, but)
    )
    joining = (epoch.joining for epoch in state.epochs.values() if epoch.stage is EpochStage.HANDING_OVER)
    return frozenset[AgentId]().union(*planned, *joining)


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


def free_agents(state: State) -> frozenset[AgentId]:
    """Agents that could begin something now."""
    promised = promised_agents(state)
    return frozenset(
        agent.agent
        for agent in state.open_agents
        if agent.worker_ready and agent.epoch is None and agent.measuring is None and agent.agent not in promised
    )


def situation(state: State) -> Situation:
    """What a decision to wait rests on."""
    free = free_agents(state)
    waiting = ((name, index) for name in state.queue for index in state.jobs[name].waiting)
    return Situation(
        free=free,
        busy=frozenset((name, agent.epoch) for name, agent in state.agents.items() if name not in free),
        waiting=tuple(islice(waiting, LOT_MAX)),
    )


def busy_s(state: State, now_s: float, *, but: Picture | None = None) -> dict[AgentId, float]:
    """Predicted seconds until each agent is free that is not; at least a moment, since it is not yet.

    Args:
        state: the present.
        now_s: the present.
        but: agents that are promised to this picture are free.
    """
    found: dict[AgentId, float] = {}
    for picture in state.pictures:
        if isinstance(picture.phase, Planning) and not _is_same(picture, but):
            found.update(dict.fromkeys(picture.phase.reserves, max(MOMENT_S, picture.phase.expected_s)))
    for epoch in state.epochs.values():
        left_s = max(MOMENT_S, _left_s(epoch, now_s))
        agents = [name for name in epoch.members if name in state.agents and state.agents[name].epoch == epoch.epoch]
        found.update(dict.fromkeys((*agents, *epoch.joining), left_s))
    return found


MOMENT_S = 1e-3
"""What any work that is not over takes at least."""


def _left_s(epoch: Epoch, now_s: float) -> float:
    course = epoch.forecast
    match epoch.stage:
        case EpochStage.FORMING:
            return course.encode_s + course.denoise_s + course.decode_s
        case EpochStage.RUNNING:
            return course.left_s(epoch.step) - max(0.0, now_s - epoch.reported_s)
        case EpochStage.HANDING_OVER:
            return course.left_s(epoch.step)  # then others go on with the same picture, and they may be among them
        case EpochStage.CANCELLING:
            return course.beat_s
        case EpochStage.ABORTING:
            return course.uninterruptible_s
        case _:
            assert_never(epoch.stage)


def _is_same(picture: Picture, other: Picture | None) -> bool:
    return other is not None and (picture.job, picture.index) == (other.job, other.index)
