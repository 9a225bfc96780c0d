"""Whether waiting pictures are made one after another by a gang, or whole ones by single devices. Pure.

Compares predicted seconds only; what a plan costs, and which devices can take a picture, is told by the caller.
Whole pictures are handed out in order of arrival, each to the device that would finish it first, those included that
are still busy: a slow device takes one only if that finishes sooner than to wait for a faster one. For equal pictures
no way to hand them out finishes the lot sooner.

By a gang the first pictures come sooner, by single devices often the last one. So several pictures are shared out only
if that is predicted to finish the lot sooner by more than predictions are exact to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from polyrhythm.ids import AgentId
from polyrhythm_coordinator.scheduling.replan_rule import GAIN_SHARE


class Way(StrEnum):
    """Closed set of ways to go on with the first of the waiting pictures."""

    GANG = "gang"
    """By the gang of the best plan, once all of it is free."""
    FREE = "free"
    """By whoever is free, without those who still work on something else."""
    SINGLES = "singles"
    """It and those after it by single devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One waiting picture.

    Attributes:
        alone_s: predicted seconds by each device that may take part, the whole picture on it alone.
        fits: those on which the whole picture fits; others take part in gangs only.
        gang_s: predicted seconds by the gang of the best plan.
        gang: that gang.
    """

    alone_s: Mapping[AgentId, float]
    fits: frozenset[AgentId]
    gang_s: float
    gang: tuple[AgentId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is done.

    Attributes:
        way: how the first picture is made.
        starts: with ``Way.SINGLES`` the pictures that begin now, each with its device; those of busy devices wait.
        gang_s: predicted seconds until all are made one after another by the gang.
        free_s: predicted seconds of the first by whoever is free; infinite where that is not another way.
        singles_s: predicted seconds until all are made by single devices.
    """

    way: Way
    starts: tuple[tuple[int, AgentId], ...]
    gang_s: float
    free_s: float
    singles_s: float


def choose(entries: Sequence[Entry], busy_s: Mapping[AgentId, float], *, throughput: bool) -> Choice:
    """How to go on with the first of the waiting pictures.

    Args:
        entries: at least one, in order of arrival.
        busy_s: predicted seconds until each busy device is free; who is absent is free.
        throughput: keep devices free for what comes, though a gang would finish sooner.

    Returns:
        The way by which the lot is finished first, a gang where it is as good as that; with throughput single devices,
        where the first picture fits on one.
    """
    singles_s, placed = _singles(entries, busy_s)
    gang_s, free_s = _one_by_one(entries, busy_s), _by_the_free_s(entries, busy_s)
    starts = tuple((index, agent) for index, agent, begin_s in placed if begin_s <= 0.0)
    if not entries[0].fits:
        way = Way.GANG if gang_s <= free_s else Way.FREE
    elif throughput:
        way = Way.SINGLES
    else:
        bar_s = singles_s / (1 - GAIN_SHARE) if len(entries) > 1 else singles_s
        way = min((gang_s, Way.GANG), (free_s, Way.FREE), (bar_s, Way.SINGLES), key=lambda pair: pair[0])[1]
    return Choice(way=way, starts=starts, gang_s=gang_s, free_s=free_s, singles_s=singles_s)


def _singles(
    entries: Sequence[Entry], busy_s: Mapping[AgentId, float]
) -> tuple[float, tuple[tuple[int, AgentId, float], ...]]:
    """Seconds until all are made, and of each picture that fits on a device: its index, that device and its begin.

    A picture that fits on none is made by its gang when its turn comes.
    """
    ready_s = dict(busy_s)
    placed: list[tuple[int, AgentId, float]] = []
    last_s = 0.0
    for index, entry in enumerate(entries):
        if entry.fits:
            end_s, begin_s, agent = min(
                (ready_s.get(name, 0.0) + entry.alone_s[name], ready_s.get(name, 0.0), name) for name in entry.fits
            )
            ready_s[agent] = end_s
            placed.append((index, agent, begin_s))
            last_s = max(last_s, end_s)
        else:
            end_s = max(ready_s.get(agent, 0.0) for agent in entry.gang) + entry.gang_s
            ready_s.update(dict.fromkeys(entry.gang, end_s))
            last_s = max(last_s, end_s)
    return last_s, tuple(placed)


def _one_by_one(entries: Sequence[Entry], busy_s: Mapping[AgentId, float]) -> float:
    ready_s = dict(busy_s)
    last_s = 0.0
    for entry in entries:
        last_s = max(last_s, *(ready_s.get(agent, 0.0) for agent in entry.gang)) + entry.gang_s
    return last_s


def _by_the_free_s(entries: Sequence[Entry], busy_s: Mapping[AgentId, float]) -> float:
    """The last picture by the devices that are free, if others are not: estimated by their share of the gang's speed.

    A gang of the free ones is not searched for this: it is as efficient as the known one, or one of them works alone.
    """
    (first, *further) = entries
    free = [agent for agent in first.alone_s if busy_s.get(agent, 0.0) <= 0.0]
    if further or not free or all(agent in free for agent in first.gang):
        return inf
    gang_speed = sum(1 / first.alone_s[agent] for agent in first.gang)
    shared_s = first.gang_s * gang_speed / sum(1 / first.alone_s[agent] for agent in free)
    return min([shared_s, *(first.alone_s[agent] for agent in free if agent in first.fits)])
