"""The queue: which picture comes next, and who has which place. Decides nothing about devices."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import assert_never

from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import Queued
from polyrhythm_coordinator.scheduling.fleet.eligibility import Viewpoint, bar_of, of_fleet
from polyrhythm_coordinator.scheduling.fleet.situation import free_agents
from polyrhythm_coordinator.scheduling.state.job import Job, Phase, Picture, Planning, Preparing, Running
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def line_up(tx: Transaction) -> None:
    """Calls the next picture up, if the one before it is decided about and somebody could make it.

    A job whose devices all work or are drained, since it names them, or since no others hold its model, keeps nobody
    else waiting.
    """
    state = tx.state
    if any(is_next(state, picture) for picture in state.pictures):
        return
    works = bool(state.epochs) or any(isinstance(picture.phase, Planning) for picture in state.pictures)
    view, free = of_fleet(state), free_agents(state)  # once, however many jobs wait: this comes after every event
    if works and not free:
        return
    waiting = (state.jobs[name] for name in state.queue if state.jobs[name].waiting)
    job = next((job for job in waiting if _has_a_chance(view.of_job(job), job, free=free, works=works)), None)
    if job is not None:
        leave_queue(tx, job, job.waiting[0], Preparing(since_s=tx.now_s))


def is_next(state: State, picture: Picture) -> bool:
    """Whether it is the picture that was called up and about which nothing is decided yet."""
    match picture.phase:
        case Preparing(shelved=shelved):
            undecided = not shelved
        case Planning(compares=compares):
            undecided = compares
        case Running():
            undecided = False
        case _:
            assert_never(picture.phase)
    return undecided and not picture.has_begun and picture.job in state.queue


def leave_queue(tx: Transaction, job: Job, index: int, phase: Phase) -> Picture:
    """One of a job's pictures waits no more."""
    waiting = tuple(other for other in job.waiting if other != index)
    started_s = tx.clock_s if job.started_s is None else job.started_s
    if job.started_s is None:
        tx.tell(job.job, Queued(position=0))
    tx.put_job(replace(job, started_s=started_s, waiting=waiting))
    picture = job.picture(index, phase)
    tx.put_picture(picture)
    return picture


def places(state: State) -> Iterator[tuple[JobId, int]]:
    """Jobs of which nothing has begun, each with its place, the first one's 1."""
    waiting = (name for name in state.queue if state.jobs[name].started_s is None)
    return ((name, place) for place, name in enumerate(waiting, start=1))


def _has_a_chance(view: Viewpoint, job: Job, *, free: AbstractSet[AgentId], works: bool) -> bool:
    """Whether nobody works at all, or somebody who could make its picture is free.

    One picture of a job is called up to find out that all who could make it are drained; the others wait behind it.
    """
    if any(isinstance(picture.phase, Preparing) and picture.phase.shelved for picture in job.pictures.values()):
        return False
    return not works or any(bar_of(view, name) is None for name in free)
