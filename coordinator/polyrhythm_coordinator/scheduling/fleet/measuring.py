"""Who measures when: agents of one host one after another, each alone, then all of them at once; hosts in parallel.

A device that works beside others of its host is slower than one that works while they rest. Plans of one device rest
on the one speed, gangs on the other, so both are measured.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from polyrhythm.ids import AgentId
from polyrhythm.job.events import ProfilingProgressed
from polyrhythm.plan.profile import Workload
from polyrhythm.session.commands import MeasureProfile, StopMeasuring
from polyrhythm_coordinator.scheduling.fleet.eligibility import lasting_bars
from polyrhythm_coordinator.scheduling.fleet.host_company import neighbours
from polyrhythm_coordinator.scheduling.fleet.profiles import known_profile
from polyrhythm_coordinator.scheduling.fleet.reservations import promised_agents
from polyrhythm_coordinator.scheduling.planning.measured_profiles import workload_of
from polyrhythm_coordinator.scheduling.state.job import Job, Picture, Wanted
from polyrhythm_coordinator.scheduling.state.phases import Running
from polyrhythm_coordinator.scheduling.state.state import Agent, Measuring, State
from polyrhythm_coordinator.scheduling.state.transaction import Transaction

ALONE_S = 2.0
"""For forwards of all agents of a host, one after another."""
ALONE_LEAST_S = 0.25
"""For forwards of one of them, at least."""
TOGETHER_S = 2.0
"""For forwards of all at once, at least ..."""
TOGETHER_MOST_S = 4.0
"""... and at most: it is longer where the slowest agent would have less than ``TOGETHER_FORWARDS``."""
TOGETHER_FORWARDS = 3.0
"""Forwards over the whole picture, at its speed alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A measurement that is due.

    Attributes:
        agent: that is to measure.
        together: while all agents of its host do.
        beside_work: while others of its host work on a picture: what it measures then counts for both.
        seconds: for forwards.
    """

    agent: AgentId
    together: bool
    beside_work: bool
    seconds: float


def due(
    state: State, picture: Picture, unmeasured: Iterable[AgentId], free: Iterable[AgentId], now_s: float
) -> tuple[Measurement, ...]:
    """What can be measured now.

    Args:
        state: the present.
        picture: for which.
        unmeasured: free agents of which too little is known.
        free: these, and free agents of which enough is known.
        now_s: the present.
    """
    found: list[Measurement] = []
    promised, everybody = promised_agents(state, but=picture), tuple(state.agents.values())
    of_host: dict[str, list[Agent]] = {}
    for name in unmeasured:
        of_host.setdefault(state.agents[name].host, []).append(state.agents[name])
    for host, waiting in sorted(of_host.items()):
        here = [agent for agent in everybody if agent.host == host]
        able = [state.agents[name] for name in free if state.agents[name].host == host]
        if any(agent.measuring is not None and not agent.measuring.is_late(now_s, state.limits) for agent in here):
            continue
        if any(agent.epoch is not None or agent.agent in promised for agent in here):
            found.extend(_beside_work(state, picture, agent, len(able)) for agent in waiting)
        else:
            found.extend(_on_idle_host(state, picture, waiting, able))
    return tuple(found)


def ask_to_measure(tx: Transaction, workload: Workload, measurements: Iterable[Measurement]) -> None:
    """Asks for the measurements that are due."""
    for measurement in measurements:
        number, agent = tx.number(), tx.state.agents[measurement.agent]
        measuring = Measuring(
            number=number,
            workload=workload,
            asked_s=tx.now_s,
            together=measurement.together,
            beside_work=measurement.beside_work,
        )
        tx.put_agent(replace(agent, measuring=measuring))
        command = MeasureProfile(
            request_id=number, workload=workload, together=measurement.together, seconds=measurement.seconds
        )
        tx.send(agent.agent, command)


def stop_unwanted(tx: Transaction) -> None:
    """Stops measurements that nobody waits for any more: the next picture does not have to wait for them either."""
    for agent in tuple(tx.state.agents.values()):
        measuring = agent.measuring
        if measuring is None or measuring.stopped or _is_wanted(tx.state, agent, measuring.workload):
            continue
        tx.put_agent(replace(agent, measuring=replace(measuring, stopped=True)))
        tx.send(agent.agent, StopMeasuring(request_id=measuring.number))


def measuring_message(
    state: State, picture: Picture, candidates: Collection[AgentId], now_s: float
) -> ProfilingProgressed:
    """What a client is told whose picture waits for measurements: of its own size, or of one that is measured first.

    Args:
        state: the present.
        picture: that waits.
        candidates: agents that may take part in it.
        now_s: the present.
    """
    agents = tuple(state.agents[name] for name in candidates)
    measured = {
        agent.agent: agent.measuring.workload
        for agent in agents
        if agent.measuring is not None and not agent.measuring.is_late(now_s, state.limits)
    }
    own = workload_of(picture.image)
    workload = own if own in measured.values() or not measured else next(iter(measured.values()))
    measuring = [name for name, one in measured.items() if one == workload]
    total = done = 0
    for agent in agents if workload == own else [agent for agent in agents if agent.agent in measuring]:
        facts = next((held for held in agent.models if held.name == workload.model), picture.facts)
        known = state.profiles.get(agent.profile_key(facts, workload))
        shares = not neighbours(state, agent.agent).isdisjoint(candidates)
        total += 1 + shares
        done += (known is not None) + (shares and known is not None and known.together is not None)
    return ProfilingProgressed(
        agents=tuple(sorted(measuring)),
        width_px=workload.width_px,
        height_px=workload.height_px,
        done=done,
        total=total,
    )


def _on_idle_host(state: State, picture: Picture, waiting: list[Agent], able: list[Agent]) -> Iterable[Measurement]:
    """On an idle host the next agent measures alone; once all have, all of them measure together."""
    unknown = [agent for agent in waiting if known_profile(state, picture, agent.agent) is None]
    if unknown:
        seconds = max(ALONE_LEAST_S, ALONE_S / len(able))
        return (Measurement(agent=unknown[0].agent, together=False, beside_work=False, seconds=seconds),)
    rows = picture.facts.row_count(picture.image.height_px)
    known = (known_profile(state, picture, agent.agent) for agent in able)
    slowest_s = max(profile.alone.line.forward_s(rows) for profile in known if profile is not None)
    seconds = min(max(TOGETHER_S, TOGETHER_FORWARDS * slowest_s), TOGETHER_MOST_S)
    return (Measurement(agent=agent.agent, together=True, beside_work=False, seconds=seconds) for agent in able)


def _beside_work(state: State, picture: Picture, agent: Agent, able: int) -> Measurement:
    known = known_profile(state, picture, agent.agent)
    seconds = max(ALONE_LEAST_S, ALONE_S / able)
    return Measurement(agent=agent.agent, together=known is not None, beside_work=True, seconds=seconds)


def _is_wanted(state: State, agent: Agent, workload: Workload) -> bool:
    if agent.agent in state.drained:
        return False
    jobs = (
        job
        for job in state.jobs.values()
        if job.waiting or any(_waits_for(job, picture, agent.agent) for picture in job.pictures.values())
    )
    return any(may_take_part(wanted, agent.agent, workload) for wanted in (*state.inquiries.values(), *jobs))


def may_take_part(wanted: Wanted, name: AgentId, workload: Workload) -> bool:
    """Whether what an agent measures is of these pictures' size, and it may take part in them."""
    return workload == workload_of(wanted.image) and not any(lasting_bars(wanted, None, name))


def _waits_for(job: Job, picture: Picture, name: AgentId) -> bool:
    """Whether a picture has a use for what an agent measures: it is to be planned, or runs and has asked a newcomer."""
    if any(lasting_bars(job, picture, name)):
        return False
    return name in picture.asked if isinstance(picture.phase, Running) else True
