"""The next picture, with those that wait behind it: decides by whom they are made, and begins those that can begin.

``gang_or_singles`` weighs the ways; this puts the question to it and carries out what it chooses.
"""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.plan.explanation import Exclusion, Explanation
from polyrhythm_coordinator.scheduling.epochs.start import can_start, start_or_prepare
from polyrhythm_coordinator.scheduling.fleet.decision import PlanNow
from polyrhythm_coordinator.scheduling.fleet.planner_inputs import profiles_of
from polyrhythm_coordinator.scheduling.fleet.reservations import busy_s
from polyrhythm_coordinator.scheduling.queue.choice_messages import left_to_others, other_pictures, sharing_message
from polyrhythm_coordinator.scheduling.queue.gang_or_singles import Choice, Fleet, Way, choose
from polyrhythm_coordinator.scheduling.queue.holding import hold
from polyrhythm_coordinator.scheduling.queue.order import leave_queue
from polyrhythm_coordinator.scheduling.queue.plan_tasks import ask_comparison, ask_plan
from polyrhythm_coordinator.scheduling.queue.waiting import WaitingPictures, in_line, looked_at, wants_throughput
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.phases import Comparing, Preparing
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def compare(tx: Transaction, picture: Picture, now: PlanNow) -> None:
    """Weighs the ways, with what is known of the gang or after the planner has told it."""
    known = tx.state.jobs[picture.job].gang
    if known is not None and known.profiles == profiles_of(tx.state, picture, now.agents):
        waiting = _looked_at(tx, picture, known)
        choice = _choice(tx, picture, waiting) if waiting.entries else None
        if choice is not None and choice.way is not Way.GANG:
            _share_out(tx, waiting, choice, known, now.exclusions)
            return
        if choice is not None and not can_start(tx.state, picture, known.chosen.plan):
            hold(tx, picture)
            return
    ask_comparison(tx, picture, now.agents, now.exclusions)  # memory is read anew for a plan that is to be followed


def take_comparison(tx: Transaction, picture: Picture, asked: Comparing, gang: Explanation) -> None:
    """The planner has told how a gang would make the next picture."""
    tx.put_job(replace(tx.state.jobs[picture.job], gang=gang))
    waiting = _looked_at(tx, picture, gang)
    if not waiting.entries:  # somebody has gone meanwhile
        tx.put_picture(replace(picture, phase=Preparing(since_s=tx.now_s)))
        return
    choice = _choice(tx, picture, waiting)
    if choice.way is not Way.GANG:
        _share_out(tx, waiting, choice, gang, asked.task.exclusions)
    elif can_start(tx.state, picture, gang.chosen.plan):
        gang = replace(gang, sharing=_sharing(waiting, choice, gang))
        start_or_prepare(tx, picture, gang, searched=asked.task.request)
    else:
        hold(tx, picture)


def _looked_at(tx: Transaction, picture: Picture, gang: Explanation) -> WaitingPictures:
    return looked_at(tx.state, in_line(tx.state, picture), gang, tx.now_s)


def _choice(tx: Transaction, picture: Picture, waiting: WaitingPictures) -> Choice:
    return choose(waiting.entries, _fleet(tx, picture), throughput=wants_throughput(picture))


def _fleet(tx: Transaction, picture: Picture) -> Fleet:
    hosts = {name: agent.host for name, agent in tx.state.agents.items()}
    return Fleet(busy_s=busy_s(tx.state, tx.clock_s, but=picture), hosts=hosts)


def _sharing(waiting: WaitingPictures, choice: Choice, gang: Explanation) -> str:
    throughput = wants_throughput(waiting.pictures[0])
    return sharing_message(choice, len(waiting.pictures), gang, throughput=throughput)


def _share_out(
    tx: Transaction, waiting: WaitingPictures, choice: Choice, gang: Explanation, exclusions: tuple[Exclusion, ...]
) -> None:
    """Begins the next picture without the gang, which waits for some."""
    if choice.way is Way.SINGLES:
        _begin_singles(tx, waiting, choice, gang, exclusions)
        return
    picture, able = waiting.pictures[0], waiting.entries[0].alone_s.keys()
    busy = able & busy_s(tx.state, tx.clock_s, but=picture).keys()
    left = (*exclusions, *other_pictures(busy, "works on another picture"))
    sharing = _sharing(waiting, choice, gang)
    ask_plan(tx, picture, sorted(able - busy), left, expected_s=choice.free_s, rival=gang, sharing=sharing)


def _begin_singles(
    tx: Transaction, waiting: WaitingPictures, choice: Choice, gang: Explanation, exclusions: tuple[Exclusion, ...]
) -> None:
    """Begins a picture on every device that is free now.

    The pictures of one job take the same time everywhere: whichever is meant, the first of those that wait begins.
    """
    first, begun = waiting.pictures[0], set[int]()
    starting, fleet = frozenset(agent for _, agent in choice.starts), _fleet(tx, first)
    sharing, able = _sharing(waiting, choice, gang), waiting.entries[0].alone_s.keys()
    for meant, agent in choice.starts:
        job = waiting.pictures[meant].job
        index = next(i for i, other in enumerate(waiting.pictures) if other.job == job and i not in begun)
        begun.add(index)
        picture = waiting.pictures[index]
        if index:
            picture = leave_queue(tx, tx.state.jobs[job], picture.index)
        left = left_to_others(able - {agent}, throughput=wants_throughput(first))
        ask_plan(
            tx,
            picture,
            (agent,),
            (*exclusions, *left),
            expected_s=waiting.entries[index].single_s(agent, in_company=fleet.is_in_company(agent, starting)),
            rival=gang,
            sharing=sharing,
            beside=starting - {agent},
        )
    if 0 not in begun:
        hold(tx, first)
