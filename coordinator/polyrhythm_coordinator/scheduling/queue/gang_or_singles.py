"""Whether waiting pictures are made one after another by a gang, or whole ones by single devices. Pure.

Compares predicted seconds only; what a plan costs, and which devices can take a picture, is told by the caller.
Whole pictures are handed out in order of arrival, each to the device that would finish it first, those included that
are still busy: a slow device takes one only if that finishes sooner than to wait for a faster one. For equal pictures
no way to hand them out finishes all of them sooner.

By a gang the first pictures come sooner, by single devices often the last one. So several pictures are shared out only
if that is predicted to finish all of them sooner by more than predictions are exact to.

Devices of one host slow each other down. Each of them is counted at its speed beside the others where these make
some of these pictures as well, or are busy; and where one of them is sooner done without the others, they rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from polyrhythm.ids import AgentId
from polyrhythm_coordinator.scheduling.planning.speed_change import GAIN_SHARE


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
        alone_s: predicted seconds by each device that may take part, the whole picture on it, while no other of its
            host works.
        beside_s: the same while others do; who is absent takes as long as alone.
        fits: those on which the whole picture fits; others take part in gangs only.
        gang_s: predicted seconds by the gang of the best plan.
        gang: that gang.
    """

    alone_s: Mapping[AgentId, float]
    fits: frozenset[AgentId]
    gang_s: float
    gang: tuple[AgentId, ...]
    beside_s: Mapping[AgentId, float] = field(default_factory=dict[AgentId, float])

    def single_s(self, agent: AgentId, *, in_company: bool) -> float:
        """Predicted seconds by one device."""
        return self.beside_s.get(agent, self.alone_s[agent]) if in_company else self.alone_s[agent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The devices among which pictures are shared out.

    Attributes:
        busy_s: predicted seconds until each busy device is free; who is absent is free.
        hosts: of each device; who is absent has one of its own.
    """

    busy_s: Mapping[AgentId, float] = field(default_factory=dict[AgentId, float])
    hosts: Mapping[AgentId, str] = field(default_factory=dict[AgentId, str])

    def free_s(self, agent: AgentId) -> float:
        """Seconds until a device is free."""
        return self.busy_s.get(agent, 0.0)

    def is_in_company(self, agent: AgentId, working: AbstractSet[AgentId]) -> bool:
        """Whether others of its host are among those who work, or busy."""
        host = self.hosts.get(agent)
        return host is not None and any(
            other != agent and self.hosts.get(other) == host for other in working | self.busy_s.keys()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _HandedOut:
    """Pictures handed out to single devices.

    Attributes:
        last_s: seconds until all are made.
        placed: index, device and begin of each that fits on one of the devices.
    """

    last_s: float
    placed: tuple[tuple[int, AgentId, float], ...]


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


def choose(entries: Sequence[Entry], fleet: Fleet, *, throughput: bool) -> Choice:
    """How to go on with the first of the waiting pictures.

    Args:
        entries: at least one, in order of arrival.
        fleet: the devices.
        throughput: keep devices free for what comes, though a gang would finish sooner.

    Returns:
        The way by which all are finished first, a gang where it is as good as that; with throughput single devices,
        where the first picture fits on one.
    """
    singles = _singles(entries, fleet)
    gang_s, free_s = _one_by_one(entries, fleet), _by_the_free_s(entries, fleet)
    starts = tuple((index, agent) for index, agent, begin_s in singles.placed if begin_s <= 0.0)
    if not entries[0].fits:
        way = Way.GANG if gang_s <= free_s else Way.FREE
    elif throughput:
        way = Way.SINGLES
    else:
        bar_s = singles.last_s / (1 - GAIN_SHARE) if len(entries) > 1 else singles.last_s
        way = min((gang_s, Way.GANG), (free_s, Way.FREE), (bar_s, Way.SINGLES), key=lambda pair: pair[0])[1]
    return Choice(way=way, starts=starts, gang_s=gang_s, free_s=free_s, singles_s=singles.last_s)


def _singles(entries: Sequence[Entry], fleet: Fleet) -> _HandedOut:
    """The pictures on all devices, or on one alone of each host of which that is sooner done."""
    workers = frozenset[AgentId]().union(*(entry.fits for entry in entries))
    best = _handed_out(entries, fleet, workers)
    for company in _companies(fleet, workers):
        fewer = [workers - (company - {one}) for one in sorted(company)]
        tried = [(_handed_out(entries, fleet, some), some) for some in fewer]
        handed, some = min(tried, key=lambda pair: pair[0].last_s)
        if handed.last_s < best.last_s:
            best, workers = handed, some
    return best


def _companies(fleet: Fleet, workers: AbstractSet[AgentId]) -> Iterator[frozenset[AgentId]]:
    """Devices that share a host, host by host."""
    for host in sorted({fleet.hosts[agent] for agent in workers if agent in fleet.hosts}):
        company = frozenset(agent for agent in workers if fleet.hosts.get(agent) == host)
        if len(company) > 1:
            yield company


def _handed_out(entries: Sequence[Entry], fleet: Fleet, workers: AbstractSet[AgentId]) -> _HandedOut:
    """Each picture to the one of these devices that would finish it first.

    A picture that fits on none at all is made by its gang when its turn comes; one that only these cannot take, never.
    """
    ready_s = dict(fleet.busy_s)
    placed: list[tuple[int, AgentId, float]] = []
    in_company = {agent: fleet.is_in_company(agent, workers) for agent in workers}
    last_s = 0.0
    for index, entry in enumerate(entries):
        makers = entry.fits & workers
        if makers:
            begins_s = ((ready_s.get(name, 0.0), name) for name in makers)
            end_s, begin_s, agent = min(
                (begin_s + entry.single_s(name, in_company=in_company[name]), begin_s, name)
                for begin_s, name in begins_s
            )
            ready_s[agent] = end_s
            placed.append((index, agent, begin_s))
        elif entry.fits:
            end_s = inf
        else:
            end_s = max(ready_s.get(agent, 0.0) for agent in entry.gang) + entry.gang_s
            ready_s.update(dict.fromkeys(entry.gang, end_s))
        last_s = max(last_s, end_s)
    return _HandedOut(last_s=last_s, placed=tuple(placed))


def _one_by_one(entries: Sequence[Entry], fleet: Fleet) -> float:
    ready_s = dict(fleet.busy_s)
    last_s = 0.0
    for entry in entries:
        last_s = max(last_s, *(ready_s.get(agent, 0.0) for agent in entry.gang)) + entry.gang_s
    return last_s


def _by_the_free_s(entries: Sequence[Entry], fleet: Fleet) -> float:
    """The last picture by the devices that are free, if others are not: estimated by their share of the gang's speed.

    A gang of the free ones is not searched for this: it is as efficient as the known one, or one of them works alone.
    """
    (first, *further) = entries
    free = {
        agent: first.single_s(agent, in_company=fleet.is_in_company(agent, frozenset()))
        for agent in first.alone_s
        if fleet.free_s(agent) <= 0.0
    }
    if further or not free or all(agent in free for agent in first.gang):
        return inf
    gang_speed = sum(1 / first.alone_s[agent] for agent in first.gang)
    shared_s = first.gang_s * gang_speed / sum(1 / seconds for seconds in free.values())
    return min([shared_s, *(seconds for agent, seconds in free.items() if agent in first.fits)])
