"""Boundary states: history of rows, and what a worker keeps between epochs."""

from __future__ import annotations

import pytest
import torch

from polyrhythm.ids import AgentId, JobId
from polyrhythm.plan.plan import Assignment, Beat, Exchange, Segment
from polyrhythm.plan.rows import RowRange
from polyrhythm_agent.epoch.boundary_state import BoundaryState, JobMemory, history_after


def state(step: int) -> BoundaryState:
    return BoundaryState(step=step, x_BCHW=torch.zeros(1), x0_BCHW=torch.zeros(1), history_steps=(step - 1,))


def test_history_is_each_owners_last_active_step() -> None:
    segment = Segment(
        begin_step=4,
        end_step=8,
        beat_steps=4,
        exchange=Exchange.DISPLACED,
        assignments=(
            Assignment(agent=AgentId("fast"), rows=RowRange(begin=0, end=2), stride=1),
            Assignment(agent=AgentId("slow"), rows=RowRange(begin=2, end=3), stride=2),
            Assignment(agent=AgentId("idle"), rows=RowRange(begin=3, end=3), stride=1),
        ),
    )
    assert history_after(Beat(begin_step=4, end_step=8, segment=segment), (3, 3, 2)) == (7, 7, 6)


def test_memory_keeps_the_last_two_boundaries_of_a_job() -> None:
    memory = JobMemory()
    job = JobId("j")
    for step in (2, 4, 6):
        memory.remember_state(job, state(step))
    assert memory.held_boundaries(job) == (4, 6)
    with pytest.raises(KeyError):
        memory.state(job, 2)


def test_a_resumed_boundary_replaces_later_ones() -> None:
    memory = JobMemory()
    job = JobId("j")
    for step in (2, 4):
        memory.remember_state(job, state(step))
    memory.remember_state(job, state(2))
    assert memory.held_boundaries(job) == (2,)
    memory.forget(job)
    assert memory.held_boundaries(job) == ()


def test_old_jobs_are_dropped() -> None:
    memory = JobMemory(jobs_max=2)
    for name in ("a", "b", "c"):
        memory.remember_state(JobId(name), state(2))
    assert memory.held_boundaries(JobId("a")) == ()
    assert memory.held_boundaries(JobId("c")) == (2,)
