"""Requests that are being stored, and names of jobs."""

from __future__ import annotations

import pytest

from polyrhythm.errors import (
    AlreadyInUseError,
    CancelledError,
    ResourceExhaustedError,
)
from polyrhythm.ids import JobId
from polyrhythm.job.events import JobAccepted
from polyrhythm.job.image import ImageRequest
from polyrhythm_coordinator.scheduling.state.effects import RefuseJob
from polyrhythm_coordinator.scheduling.state.events import Event, JobStored, JobSubmitted, StoringFailed
from tests.fakes.model import FACTS
from tests.worlds.fleet_world import World

REQUEST = ImageRequest(prompt="a red apple", seed=1)
ENOUGH = CancelledError("enough")


def held_up(*agents: str) -> tuple[World, JobId]:
    """A request that has passed its checks, and a store that takes its time."""
    world = World(*agents)
    world.holds_stores = True
    job = world.submit(REQUEST)
    world.settle()
    return world, job


def test_a_request_is_accepted_once_it_is_stored() -> None:
    world, job = held_up("a")
    world.tick()
    assert (world.told[job], world.state.jobs, world.state.queue) == ([], {}, ())
    (effect,) = world.stores
    assert (effect.job, effect.request, effect.image.prompt) == (job, REQUEST, REQUEST.prompt)
    world.let_stores()
    assert world.told[job][0] == JobAccepted(job=job, image=effect.image, fingerprint=FACTS.fingerprint)
    world.run(job)
    assert world.ended[job] is None


def test_a_request_that_cannot_be_stored_is_refused_with_the_reason() -> None:
    world, job = held_up("a")
    full = ResourceExhaustedError("the disk is full")
    world.feed(StoringFailed(job=job, error=full))
    assert (world.told[job], world.ended[job]) == ([], full)
    assert world.state.applicants == {}


@pytest.mark.parametrize("late", [JobStored(job=JobId("job-1-1")), StoringFailed(job=JobId("job-1-1"), error=ENOUGH)])
def test_a_cancel_while_a_request_is_stored_is_the_end_of_it(late: Event) -> None:
    world, job = held_up("a")
    world.cancel(job, ENOUGH)
    assert world.ended == {job: ENOUGH}
    assert world.feed(late) == ()
    assert (world.told[job], world.state.jobs) == ([], {})


def test_jobs_queue_up_as_they_are_stored() -> None:
    world, first = held_up("a")
    second = world.submit(REQUEST)
    world.settle()
    world.feed(JobStored(job=second))
    world.feed(JobStored(job=first))
    assert world.state.queue == (second, first)


def test_a_request_outlasts_its_agent_while_it_is_stored() -> None:
    world, job = held_up("a")
    world.kill_daemon("a")
    world.let_stores()
    world.connect("a")
    world.load("a")
    world.run(job)
    assert world.ended[job] is None


def submitted(name: JobId) -> JobSubmitted:
    return JobSubmitted(job=name, request=REQUEST, drawn_seed=7, explain_only=False)


def test_a_name_that_is_known_is_refused_and_its_job_goes_on() -> None:
    world, job = held_up("a")
    world.daemons["a"].worker.pause_at = 4
    for step in (lambda: None, world.let_stores, world.settle):
        step()
        assert isinstance(world.feed(submitted(job))[0], RefuseJob)
    world.cancel(job, ENOUGH)
    assert world.state.epochs
    assert isinstance(world.feed(submitted(job))[0], RefuseJob)  # agents still hold something under this name
    assert {type(refused.error) for refused in world.refused} == {AlreadyInUseError}
    assert world.ended == {job: ENOUGH}
    world.daemons["a"].worker.pause_at = None
    world.run_until(lambda: not world.state.epochs)
    del world.ended[job]
    world.feed(submitted(job))
    world.run(job)
    assert world.ended[job] is None
