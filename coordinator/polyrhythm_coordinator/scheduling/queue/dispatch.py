"""The next picture, with the lot that waits behind it: decides by whom they are made, and begins those that can begin.

``gang_or_singles`` weighs the ways; this puts the question to it and carries out what it chooses.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf, isfinite
from typing import assert_never

from polyrhythm.ids import AgentId
from polyrhythm.job.events import Planned
from polyrhythm.plan.explanation import Candidate, Exclusion, ExclusionReason, Explanation
from polyrhythm_coordinator.scheduling.epochs.start import can_start, start_or_prepare
from polyrhythm_coordinator.scheduling.fleet.decision import PlanNow
from polyrhythm_coordinator.scheduling.fleet.planner_inputs import profiles_of
from polyrhythm_coordinator.scheduling.fleet.reservations import busy_s
from polyrhythm_coordinator.scheduling.fleet.situation import situation
from polyrhythm_coordinator.scheduling.planning.explanation import RUNNERS_UP_MAX, same_seconds
from polyrhythm_coordinator.scheduling.queue.gang_or_singles import Choice, Fleet, Way, choose
from polyrhythm_coordinator.scheduling.queue.order import leave_queue
from polyrhythm_coordinator.scheduling.queue.plan_tasks import ask_comparison, ask_plan
from polyrhythm_coordinator.scheduling.queue.waiting import Lot, lot_of, wants_throughput
from polyrhythm_coordinator.scheduling.state.effects import EndJob
from polyrhythm_coordinator.scheduling.state.job import Picture, Planning, Preparing
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def compare(tx: Transaction, picture: Picture, go: PlanNow) -> None:
    """Weighs the ways, with what is known of the gang or after the planner has told it."""
    known = tx.state.jobs[picture.job].gang
    profiles = profiles_of(tx.state, picture, go.agents)
    lot = None if known is None or known.profiles != profiles else lot_of(tx.state, picture, known, tx.now_s)
    if known is None or lot is None or not lot.entries:
        ask_comparison(tx, picture, go.agents, go.exclusions)
        return
    choice = _choice(tx, picture, lot)
    if choice.way is Way.GANG and can_start(tx.state, picture, known.chosen.plan):
        ask_comparison(tx, picture, go.agents, go.exclusions)  # memory is read anew for a plan that is to be followed
    else:
        _follow(tx, picture, lot, choice, known, go.exclusions)


def take_comparison(tx: Transaction, picture: Picture, gang: Explanation) -> None:
    """The planner has told how a gang would make the next picture."""
    assert isinstance(picture.phase, Planning), f"{picture.job} is {picture.phase}"
    job = tx.state.jobs[picture.job]
    tx.put_job(replace(job, gang=gang))
    lot = lot_of(tx.state, picture, gang, tx.now_s)
    if not lot.entries:  # somebody has gone meanwhile
        tx.put_picture(replace(picture, phase=Preparing(since_s=tx.now_s)))
        return
    _follow(tx, picture, lot, _choice(tx, picture, lot), gang, picture.phase.task.exclusions)


def hold(tx: Transaction, picture: Picture, *, until_s: float = inf, shelved: bool = False) -> None:
    """Lets a picture wait until something changes.

    Args:
        tx: the transition.
        picture: that waits.
        until_s: when it is looked at again all the same.
        shelved: whether others need not wait for it.
    """
    waiting = Preparing(since_s=tx.now_s)
    tx.put_picture(replace(picture, phase=waiting))  # first, since what was kept free for it counts as free again
    waiting = replace(waiting, held_in=situation(tx.state), held_until_s=until_s, shelved=shelved)
    tx.put_picture(replace(picture, phase=waiting))


def with_choice(phase: Planning, explanation: Explanation) -> Explanation:
    """A plan that was asked for after a choice, told with what it was chosen over."""
    rival = phase.rival
    if rival is None:
        return explanation
    others = {candidate.label: candidate for candidate in (rival.chosen, *rival.runners_up, *explanation.runners_up)}
    others.pop(explanation.chosen.label, None)
    fastest = sorted(others.values(), key=_total_s)[:RUNNERS_UP_MAX]
    profiles = {profile.agent: profile for profile in (*rival.profiles, *explanation.profiles)}
    return replace(
        explanation,
        runners_up=tuple(fastest),
        profiles=tuple(profiles[agent] for agent in sorted(profiles)),
        links=rival.links,
        sharing=phase.sharing,
    )


def _total_s(candidate: Candidate) -> float:
    return candidate.prediction.total_s


def _choice(tx: Transaction, picture: Picture, lot: Lot) -> Choice:
    return choose(lot.entries, _fleet(tx, picture), throughput=wants_throughput(picture))


def _fleet(tx: Transaction, picture: Picture) -> Fleet:
    # A plan that is only explained is one for an idle fleet.
    busy = {} if picture.explain_only else busy_s(tx.state, tx.clock_s, but=picture)
    return Fleet(busy_s=busy, hosts={name: agent.host for name, agent in tx.state.agents.items()})


def _follow(
    tx: Transaction, picture: Picture, lot: Lot, choice: Choice, gang: Explanation, exclusions: tuple[Exclusion, ...]
) -> None:
    sharing = _told(choice, len(lot.pictures), gang, asked=wants_throughput(picture))
    match choice.way:
        case Way.GANG:
            _begin_with_gang(tx, picture, replace(gang, sharing=sharing))
        case Way.FREE:
            busy = busy_s(tx.state, tx.clock_s, but=picture)
            agents = tuple(agent for agent in sorted(lot.entries[0].alone_s) if agent not in busy)
            left = _left_out(lot, agents, "works on another picture", exclusions)
            ask_plan(tx, picture, agents, left, expected_s=choice.free_s, rival=gang, sharing=sharing)
        case Way.SINGLES:
            _begin_singles(tx, lot, choice, gang, sharing, exclusions)
        case _:
            assert_never(choice.way)


def _begin_with_gang(tx: Transaction, picture: Picture, gang: Explanation) -> None:
    if picture.explain_only:
        tx.tell(picture.job, Planned(image_index=picture.index, explanation=gang))
        tx.end_job(picture.job, EndJob(job=picture.job))
    elif can_start(tx.state, picture, gang.chosen.plan):
        start_or_prepare(tx, picture, gang)
    else:
        hold(tx, picture)


def _begin_singles(
    tx: Transaction, lot: Lot, choice: Choice, gang: Explanation, sharing: str, exclusions: tuple[Exclusion, ...]
) -> None:
    """Begins a picture on every device that is free now; of a job that is only explained, the first.

    The pictures of one job take the same time everywhere: whichever is meant, the first of those that wait begins.
    """
    first, begun = lot.pictures[0], set[int]()
    starting, fleet = frozenset(agent for _, agent in choice.starts), _fleet(tx, first)
    for meant, agent in choice.starts:
        job = lot.pictures[meant].job
        index = next(i for i, other in enumerate(lot.pictures) if other.job == job and i not in begun)
        begun.add(index)
        if first.explain_only and index:
            continue
        picture = lot.pictures[index]
        if index:
            picture = leave_queue(tx, tx.state.jobs[job], picture.index, picture.phase)
        detail = "is kept free for other pictures" if wants_throughput(first) else "is left to other pictures"
        left = _left_out(lot, (agent,), detail, exclusions)
        seconds = lot.entries[index].single_s(agent, in_company=fleet.is_in_company(agent, starting))
        ask_plan(
            tx, picture, (agent,), left, expected_s=seconds, rival=gang, sharing=sharing, beside=starting - {agent}
        )
    if 0 not in begun:
        hold(tx, first)


def _left_out(
    lot: Lot, agents: tuple[AgentId, ...], why: str, exclusions: tuple[Exclusion, ...]
) -> tuple[Exclusion, ...]:
    others = (agent for agent in sorted(lot.entries[0].alone_s) if agent not in agents)
    left = tuple(
        Exclusion(agent=agent, reason=ExclusionReason.OTHER_PICTURES, detail=f"{agent} {why}") for agent in others
    )
    return (*exclusions, *left)


def _told(choice: Choice, waiting: int, gang: Explanation, *, asked: bool) -> str:
    """The choice in a sentence with the predicted seconds of every way; empty where there was nothing to choose."""
    pictures = f"{waiting} pictures wait" if waiting > 1 else "no other picture waits"
    each = "each by one device" if waiting > 1 else "by one device"
    together = f"one after another by {gang.chosen.label}" if waiting > 1 else f"by {gang.chosen.label}"
    ways = {
        Way.GANG: (together, choice.gang_s),
        Way.FREE: ("by those that are free", choice.free_s),
        Way.SINGLES: (each, choice.singles_s),
    }
    chosen, chosen_s = ways.pop(choice.way)
    # A gang of one device is no other way than a single device that takes as long.
    alone = len(gang.chosen.plan.agents) == 1
    told = [
        f"{way} {seconds:.3f} s"
        for way, seconds in ways.values()
        if isfinite(seconds) and not (alone and same_seconds(seconds, chosen_s))
    ]
    if not asked and (not told or (waiting == 1 and choice.way is Way.GANG)):
        return ""
    why = "throughput is asked for, and " if asked else ""
    return ", ".join((f"{why}{pictures}: {chosen} in {chosen_s:.3f} s as predicted", *told))
