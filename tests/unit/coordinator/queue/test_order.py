"""First come, first served; places are told; a job can be cancelled wherever it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from polyrhythm.errors import CancelledError, InvalidArgumentError, UnreachableError
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import ImageChunk, ImageCompleted, ImagePlanned, ImageProgressed, JobQueued
from polyrhythm.job.image import COUNT_MAX, ImageRequest
from polyrhythm.model.facts import SoftwareVersion
from polyrhythm.session.commands import AbortEpoch, CancelEpoch, ForgetJob, MeasureProfile, StartEpoch, StopMeasuring
from polyrhythm.session.events import Heartbeat
from polyrhythm_coordinator.scheduling.fleet.situation import LOOKED_AT_MAX, situation
from polyrhythm_coordinator.scheduling.state.events import Stopping
from polyrhythm_coordinator.scheduling.state.job import Job
from tests.fakes.model import PNG
from tests.values.plans import exact_plan
from tests.worlds.fleet_world import World

if TYPE_CHECKING:
    from _collections_abc import dict_values

ENOUGH = CancelledError("enough")


def paused_world(*agents: str, at: int = 4) -> World:
    """All workers stop at a step until the pause is lifted."""
    world = World(*agents)
    for daemon in world.daemons.values():
        daemon.worker.pause_at = at
    return world


def go_on(world: World) -> None:
    for daemon in world.daemons.values():
        daemon.worker.pause_at = None


def positions(world: World, job: JobId) -> list[int]:
    return [event.position for event in world.told_of(job, JobQueued)]


def test_one_picture_from_request_to_report() -> None:
    world = World("a", "b")
    job = world.submit()
    world.run(job)
    kinds = [type(event).__name__ for event in world.told[job]]
    begin = ["JobAccepted", "JobQueued", "ProfilingProgressed", "ImagePlanned", "ImageProgressed"]
    assert kinds[:5] == begin
    assert kinds[-1] == "ImageCompleted"
    assert b"".join(chunk.data for chunk in world.told_of(job, ImageChunk)) == PNG
    assert [e.step for e in world.told_of(job, ImageProgressed)][-1] == 12
    (completed,) = world.told_of(job, ImageCompleted)
    assert completed.report.seed == 1
    assert [usage.agent for usage in completed.report.agents] == ["a", "b"]
    assert all(usage.emulated for usage in completed.report.agents)
    assert all(SoftwareVersion(name="torch", version="2.13.0") in usage.software for usage in completed.report.agents)
    assert completed.report.fingerprint == "f00d"
    assert [command.job for command in world.sent("a", ForgetJob)] == [job]


def test_jobs_run_in_order_and_are_told_their_place() -> None:
    world = paused_world("a")
    first, second, third = world.submit(), world.submit(), world.submit()
    world.settle()
    assert [positions(world, job) for job in (first, second, third)] == [[0], [1], [2]]
    go_on(world)
    world.run(first)
    world.tick()
    world.run(second, third)
    assert [positions(world, job) for job in (first, second, third)] == [[0], [1, 0], [2, 1, 0]]
    assert list(world.ended) == [first, second, third]
    assert len(world.sent("a", MeasureProfile)) == 1


def test_several_pictures_count_the_seed_up() -> None:
    world = World("a", "b")
    job = world.submit(ImageRequest(prompt="three", seed=5, count=3))
    world.run(job)
    reports = [event.report for event in world.told_of(job, ImageCompleted)]
    assert [(report.image_index, report.seed) for report in reports] == [(0, 5), (1, 6), (2, 7)]
    assert [event.image_index for event in world.told_of(job, ImagePlanned)] == [0, 1, 2]
    gangs = {command.gang for command in world.sent("a", StartEpoch)}
    assert len(gangs) == 1
    assert len(world.sent("a", ForgetJob)) == 1


def test_a_drawn_seed_is_used_where_none_is_named() -> None:
    world = World("a")
    job = world.submit(ImageRequest(prompt="any"))
    world.run(job)
    (completed,) = world.told_of(job, ImageCompleted)
    assert completed.report.seed == 7


def test_cancel_while_being_checked() -> None:
    world = World("a")
    world.daemons["a"].worker.mute = True
    job = world.submit()
    world.cancel(job, ENOUGH)
    assert world.ended[job] is ENOUGH
    assert world.state.applicants == {}


def test_cancel_in_the_queue_moves_the_others_up() -> None:
    world = paused_world("a")
    first, second, third = world.submit(), world.submit(), world.submit()
    world.settle()
    world.cancel(second, ENOUGH)
    assert world.ended == {second: ENOUGH}
    assert positions(world, third) == [2]
    world.tick()
    assert positions(world, third) == [2, 1]
    go_on(world)
    world.run(first, third)
    assert world.ended[third] is None


def test_the_next_job_waits_for_an_agent_that_stops_measuring() -> None:
    world = World("a")
    first = world.submit()
    daemon = world.daemons["a"]
    while not world.sent("a", MeasureProfile):
        assert world.deliver_down(daemon) or world.deliver_up(daemon)
    world.cancel(first, ENOUGH)
    second = world.submit()
    world.run(second)
    assert world.ended == {first: ENOUGH, second: None}
    assert [len(world.sent("a", kind)) for kind in (MeasureProfile, StopMeasuring)] == [2, 1]


def test_cancel_while_planning() -> None:
    world = World("a")
    first = world.submit()
    daemon = world.daemons["a"]
    while not world.plans:
        assert world.deliver_down(daemon) or world.work(daemon) or world.deliver_up(daemon)
    world.cancel(first, ENOUGH)
    world.settle()
    assert world.sent("a", StartEpoch) == []
    second = world.submit()
    world.run(second)
    assert world.ended == {first: ENOUGH, second: None}


def test_cancel_while_running_stops_at_a_boundary_and_the_next_job_follows() -> None:
    world = paused_world("a", "b")
    first, second = world.submit(), world.submit()
    world.settle()
    world.cancel(first, ENOUGH)
    assert world.ended == {first: ENOUGH}
    assert positions(world, second) == [1]
    world.settle()
    assert len(world.sent("a", CancelEpoch)) == len(world.sent("b", CancelEpoch)) == 1
    assert world.sent("a", AbortEpoch) == []
    assert positions(world, second) == [1, 0]
    go_on(world)
    world.run(second)
    assert world.ended[second] is None
    # The gang came out of it intact and was used again.
    assert len({command.gang for command in world.sent("a", StartEpoch)}) == 1


def test_cancel_that_reaches_no_boundary_becomes_an_abort() -> None:
    world = paused_world("a", "b")
    first, second = world.submit(), world.submit()
    world.settle()
    world.daemons["b"].worker.hung = True
    world.cancel(first, ENOUGH)
    go_on(world)
    world.run(second)
    assert world.ended[second] is None
    assert len(world.sent("a", AbortEpoch)) == 1
    assert set(world.state.agents) == {"a"}


def test_cancel_of_an_ended_job_is_nothing() -> None:
    world = World("a")
    job = world.submit()
    world.run(job)
    world.cancel(job, ENOUGH)
    assert world.ended[job] is None


def test_a_given_plan_is_followed() -> None:
    world = World("agent-0", "agent-1", "agent-2")
    plan = exact_plan(12, (5, 3))
    job = world.submit(ImageRequest(prompt="again", seed=1, plan=plan))
    world.run(job)
    (planned,) = world.told_of(job, ImagePlanned)
    assert planned.explanation.chosen.plan == plan
    assert planned.explanation.chosen.prediction.denoise_s > 0
    (completed,) = world.told_of(job, ImageCompleted)
    assert completed.report.plans == (plan,)
    assert world.sent("agent-2", StartEpoch) == []


def test_a_given_plan_whose_agent_has_gone_is_refused() -> None:
    world = paused_world("agent-0", "agent-1")
    first = world.submit()
    second = world.submit(ImageRequest(prompt="again", seed=1, plan=exact_plan(12, (5, 3))))
    world.settle()
    world.kill_daemon("agent-1")
    go_on(world)
    world.run(first, second)
    assert world.ended[first] is None
    error = world.ended[second]
    assert isinstance(error, InvalidArgumentError)
    assert error.violations[0].field == "image.plan"


def test_stopping_ends_everything() -> None:
    world = paused_world("a")
    running, waiting = world.submit(), world.submit()
    world.settle()
    world.daemons["a"].worker.mute = True
    checked = world.submit()
    world.feed(Stopping())
    assert {type(world.ended[job]) for job in (running, waiting, checked)} == {UnreachableError}
    assert world.state.agents == {}
    late = world.submit()
    assert isinstance(world.ended[late], UnreachableError)
    assert AgentId("a") not in world.state.agents


class CountedJobs(dict[JobId, Job]):
    """Jobs, and how many of them were looked at."""

    looked_at = 0

    def __getitem__(self, name: JobId) -> Job:
        self.looked_at += 1
        return super().__getitem__(name)

    def values(self) -> dict_values[JobId, Job]:
        self.looked_at += len(self)
        return super().values()


def looks_a_heartbeat(jobs: int) -> int:
    world = paused_world("a", "b")
    for _ in range(jobs):
        world.submit()
    world.settle()
    counted = CountedJobs(world.state.jobs)
    world.state = replace(world.state, jobs=counted)
    world.say("a", Heartbeat(sequence=0))
    assert world.state.jobs is counted
    return counted.looked_at


def test_what_an_event_costs_grows_with_the_queue_no_faster_than_the_queue() -> None:
    assert looks_a_heartbeat(60) < 2.5 * looks_a_heartbeat(30)


def test_a_decision_to_wait_does_not_list_the_whole_queue() -> None:
    world = paused_world("a")
    for _ in range(3):
        world.submit(ImageRequest(prompt="many", seed=1, count=COUNT_MAX))
    world.settle()
    assert len(situation(world.state).waiting) == LOOKED_AT_MAX
