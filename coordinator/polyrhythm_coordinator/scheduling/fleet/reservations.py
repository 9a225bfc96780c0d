"""Which agents are promised to a picture, and how long each is still at work. Pure."""

from __future__ import annotations

from typing import assert_never

from polyrhythm.ids import AgentId
from polyrhythm_coordinator.scheduling.state.epoch import Epoch, EpochStage
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.phases import Planning
from polyrhythm_coordinator.scheduling.state.state import State

MOMENT_S = 1e-3
"""What any work that is not over takes at least."""


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


def busy_s(state: State, clock_s: float, *, but: Picture | None = None) -> dict[AgentId, float]:
    """How long those who are not free will still be at work, in predicted seconds; ``MOMENT_S`` at least.

    Args:
        state: the present.
        clock_s: the present, by the clock.
        but: agents that are promised to this picture are free.
    """
    found: dict[AgentId, float] = {}
    for picture in state.pictures:
        if isinstance(picture.phase, Planning) and not _is_same(picture, but):
            found.update(dict.fromkeys(picture.phase.reserves, max(MOMENT_S, picture.phase.expected_s)))
    for epoch in state.epochs.values():
        left_s = max(MOMENT_S, _left_s(epoch, clock_s))
        agents = [name for name in epoch.members if name in state.agents and state.agents[name].epoch == epoch.epoch]
        found.update(dict.fromkeys((*agents, *epoch.joining), left_s))
    return found


def _left_s(epoch: Epoch, clock_s: float) -> float:
    course = epoch.forecast
    match epoch.stage:
        case EpochStage.FORMING:
            return course.encode_s + course.denoise_s + course.decode_s
        case EpochStage.RUNNING:
            return course.left_s(epoch.step) - max(0.0, clock_s - epoch.reported_s)
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
