"""The queue: which picture comes next, and who has which place. Decides nothing about devices."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import assert_never

from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import JobQueued
from polyrhythm_coordinator.scheduling.fleet.eligibility import Viewpoint, bar_of, of_fleet
from polyrhythm_coordinator.scheduling.fleet.situation import free_agents
from polyrhythm_coordinator.scheduling.state.job import Job, Picture
from polyrhythm_coordinator.scheduling.state.phases import (
    Comparing,
    Held,
    Planning,
    Preparing,
    Running,
    Shelved,
    Waiting,
)
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.transaction import Transaction


def line_up(tx: Transaction) -> None:
    """Calls the next picture up, if the one before it is decided about and somebody could make it.

    A job whose devices all work or are drained, since it names them, or since no others hold its model, keeps nobody
    else waiting.
    """
    if any(_is_next(picture) for picture in tx.state.pictures):
        return
    job = _next_of(tx.state, tx.state.queue)
    if job is not None:
        leave_queue(tx, job, job.waiting[0])


def comes_first(state: State, names: Collection[JobId]) -> bool:
    """Whether a picture of one of these jobs comes before all that may be done later: it was called up, or could be."""
    queue = [name for name in state.queue if name in names]
    pictures = (picture for name in queue for picture in state.jobs[name].pictures.values())
    return any(map(_is_next, pictures)) or _next_of(state, queue) is not None


def _is_next(picture: Picture) -> bool:
    """Whether it is the picture that was called up and about which nothing is decided yet."""
    match picture.phase:
        case Preparing() | Held() | Comparing():
            return not picture.has_begun
        case Waiting() | Shelved() | Planning() | Running():
            return False
        case _:
            assert_never(picture.phase)


def leave_queue(tx: Transaction, job: Job, index: int) -> Picture:
    """One of a job's pictures waits no more."""
    waiting = tuple(other for other in job.waiting if other != index)
    started_s = tx.clock_s if job.started_s is None else job.started_s
    if job.started_s is None:
        tx.tell(job.job, JobQueued(position=0))
    tx.put_job(replace(job, started_s=started_s, waiting=waiting))
    picture = replace(job.picture(index), phase=Preparing(since_s=tx.now_s))
    tx.put_picture(picture)
    return picture


def places(state: State) -> Iterator[tuple[JobId, int]]:
    """Jobs of which nothing has begun, each with its place, the first one's 1."""
    waiting = (name for name in state.queue if state.jobs[name].started_s is None)
    return ((name, place) for place, name in enumerate(waiting, start=1))


def _next_of(state: State, queue: Collection[JobId]) -> Job | None:
    """The first job with a picture that waits and that somebody could make, if anybody is free at all."""
    if not any(state.jobs[name].waiting for name in queue):
        return None  # after nearly every event: nobody needs to know then who is free
    works = bool(state.epochs) or any(isinstance(picture.phase, Planning) for picture in state.pictures)
    view, free = of_fleet(state), free_agents(state)  # once, however many jobs wait: this comes after every event
    if works and not free:
        return None
    waiting = (state.jobs[name] for name in queue if state.jobs[name].waiting)
    return next((job for job in waiting if _has_a_chance(view.of_job(job), job, free=free, works=works)), None)


def _has_a_chance(view: Viewpoint, job: Job, *, free: AbstractSet[AgentId], works: bool) -> bool:
    """Whether nobody works at all, or somebody who could make its picture is free.

    One picture of a job is called up to find out that all who could make it are drained; the others wait behind it.
    """
    if any(isinstance(picture.phase, Shelved) for picture in job.pictures.values()):
        return False
    return not works or any(bar_of(view, name) is None for name in free)
