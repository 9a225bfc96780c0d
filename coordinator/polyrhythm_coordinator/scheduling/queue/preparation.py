"""From the call of a picture to its plan: measurements are asked for, then the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from polyrhythm.errors import NoAgentsError
from polyrhythm.job.events import JobDelayed
from polyrhythm_coordinator.scheduling.epochs.giving_up import give_up
from polyrhythm_coordinator.scheduling.fleet.agent_kinds import AgentKinds, agent_kinds
from polyrhythm_coordinator.scheduling.fleet.decision import GiveUp, KeepWaiting, Measure, PlanNow
from polyrhythm_coordinator.scheduling.fleet.eligibility import DRAINED, Bar
from polyrhythm_coordinator.scheduling.fleet.measuring import ask_to_measure, due, measuring_message
from polyrhythm_coordinator.scheduling.fleet.planner_inputs import profiles_of
from polyrhythm_coordinator.scheduling.fleet.second_chance import decided, with_second_chances
from polyrhythm_coordinator.scheduling.planning.measured_profiles import workload_of
from polyrhythm_coordinator.scheduling.queue.dispatch import compare
from polyrhythm_coordinator.scheduling.queue.holding import hold, is_over, shelve
from polyrhythm_coordinator.scheduling.queue.plan_tasks import ask_plan
from polyrhythm_coordinator.scheduling.queue.waiting import single_s
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.phases import Held, Preparing, Shelved, Unplanned
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def prepare(tx: Transaction, picture: Picture, phase: Unplanned) -> None:
    """Goes on with a picture that has no plan, as far as it goes now."""
    match phase:
        case Preparing():
            _prepare(tx, picture, phase)
        case Held() | Shelved():
            if is_over(tx, phase):
                again = Preparing(since_s=tx.now_s)
                picture = replace(picture, phase=again)
                tx.put_picture(picture)
                _prepare(tx, picture, again)
        case _:
            assert_never(phase)


def _prepare(tx: Transaction, picture: Picture, phase: Preparing) -> None:
    before = picture
    picture, decision = decided(tx.state, before, phase, tx.now_s)
    if picture is not before:
        tx.put_picture(picture)
    match decision:
        case GiveUp(error=error):
            give_up(tx, picture.job, error)
        case KeepWaiting():
            _wait(tx, picture, phase, decision)
        case Measure(measurements=measurements):
            ask_to_measure(tx, workload_of(picture.image), measurements)
            _tell_measuring(tx, picture)
        case PlanNow():
            _plan(tx, picture, decision)
        case _:
            assert_never(decision)


def wait_for_others(tx: Transaction, picture: Picture, error: NoAgentsError) -> bool:
    """There is no plan with those who are free: waits for others, as long as they may come.

    Then for those that were lost on the picture, and in the end for those that are drained.

    Returns:
        Whether there is somebody to wait for.
    """
    since_s = tx.now_s if picture.unplanned_since_s is None else picture.unplanned_since_s
    picture = replace(picture, unplanned_since_s=since_s)
    again = with_second_chances(picture)
    return (
        _wait_for_coming(tx, picture, error, since_s)
        or (again is not None and _wait_for_lost(tx, again, error, since_s))
        or _wait_for_drained(tx, picture, error)
    )


def _tell_measuring(tx: Transaction, picture: Picture) -> None:
    """Says what is measured, and how much of it is done, whenever something begins to be."""
    candidates = agent_kinds(tx.state, picture, tx.now_s).candidates
    message = measuring_message(tx.state, picture, candidates, tx.now_s)
    tx.tell(picture.job, message, image_index=picture.index)


def _wait(tx: Transaction, picture: Picture, phase: Preparing, waiting: KeepWaiting) -> None:
    """Patience with workers that are loading begins when nothing else is waited for."""
    if waiting.for_drained:
        shelve(tx, picture)
    elif not waiting.for_loading and phase.since_s != tx.now_s:
        picture = replace(picture, phase=Preparing(since_s=tx.now_s))
        tx.put_picture(picture)
    if waiting.for_measuring:
        _tell_measuring(tx, picture)
    if waiting.reason:
        _tell_delay(tx, picture, waiting.reason)


def _wait_for_coming(tx: Transaction, picture: Picture, error: NoAgentsError, since_s: float) -> bool:
    """Those that are measured, busy, loading, or back in a moment."""
    kinds = agent_kinds(tx.state, picture, tx.now_s)
    patient_until_s = since_s + tx.limits.loading_grace_s
    if kinds.of(Bar.UNMEASURED, Bar.MEASURING) and picture.fixed_plan is None:
        _wait_for_measurements(tx, picture, kinds)
    elif kinds.of(Bar.BUSY, Bar.OCCUPIED) and picture.fixed_plan is None:
        hold(tx, picture)
    elif kinds.coming and tx.now_s < patient_until_s:
        # Who has left is expected back for a shorter time than who loads, and nothing happens when that is over.
        returns_s = (tx.state.departed[name].at_s + tx.limits.return_grace_s for name in kinds.of(Bar.ABSENT))
        hold(tx, picture, until_s=min((patient_until_s, *returns_s)))
        _tell_delay(tx, picture, f"{error}; {kinds.coming_message}")
    else:
        return False
    return True


def _wait_for_lost(tx: Transaction, again: Picture, error: NoAgentsError, since_s: float) -> bool:
    """Those that were lost on the picture; whoever of them is ready is planned with at once."""
    if any(name in again.readmitted for name in agent_kinds(tx.state, again, tx.now_s).ready):
        tx.put_picture(replace(again, phase=Preparing(since_s=tx.now_s)))
        return True
    return _wait_for_coming(tx, again, error, since_s)


def _wait_for_drained(tx: Transaction, picture: Picture, error: NoAgentsError) -> bool:
    """Those that somebody has to put back."""
    drained = agent_kinds(tx.state, picture, tx.now_s).of(Bar.DRAINED)
    if drained:
        shelve(tx, picture)
        _tell_delay(tx, picture, f"{error}; {', '.join(drained)}: {DRAINED}")
    return bool(drained)


def _wait_for_measurements(tx: Transaction, picture: Picture, kinds: AgentKinds) -> None:
    """Newcomers of unknown speed are measured; the picture is looked at again once one of them has, or is late."""
    unmeasured = kinds.of(Bar.UNMEASURED)
    asked = due(tx.state, picture, unmeasured, (*kinds.ready, *unmeasured), tx.now_s)
    ask_to_measure(tx, workload_of(picture.image), asked)
    picture = replace(picture, asked=picture.asked.union(measurement.agent for measurement in asked))
    measuring = (tx.state.agents[name].measuring for name in (*unmeasured, *kinds.of(Bar.MEASURING)))
    asked_s = [held.asked_s for held in measuring if held is not None]
    hold(tx, picture, until_s=min(asked_s, default=tx.now_s) + tx.limits.profile_timeout_s)
    _tell_measuring(tx, picture)


def _tell_delay(tx: Transaction, picture: Picture, reason: str) -> None:
    tx.tell(picture.job, JobDelayed(reason=reason), image_index=picture.index)


def _plan(tx: Transaction, picture: Picture, now: PlanNow) -> None:
    """Asks for a plan at once where nothing is to be chosen: it is given, or the picture has begun."""
    if now.fixed_plan is None and not picture.has_begun:
        compare(tx, picture, now)
        return
    profiles = profiles_of(tx.state, picture, now.agents)
    expected_s = min(single_s(picture, profile, alone=profile.is_alone_among(())) for profile in profiles)
    agents = now.agents if now.fixed_plan is None else tuple(a for a in now.agents if a in now.fixed_plan.agents)
    ask_plan(tx, picture, agents, now.exclusions, fixed_plan=now.fixed_plan, expected_s=expected_s)
