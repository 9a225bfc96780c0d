"""Devices that cannot measure, or die of it, are left out of the job; those that come, or are late, are looked at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import AgentsLostError, NoAgentsError, PictureFailedError
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import ImagePlanned, ImageReplanned, JobDelayed, ProfilingProgressed
from polyrhythm.job.image import ImageRequest, Objective, Quality
from polyrhythm.plan.explanation import ExclusionReason
from polyrhythm.session.commands import MeasureProfile, StartEpoch, StopMeasuring
from polyrhythm_coordinator.scheduling.fleet.measuring import measuring_message
from polyrhythm_coordinator.scheduling.state.events import PlanFailed
from polyrhythm_coordinator.scheduling.state.phases import Planning, Running
from tests.fakes.worker import FakeWorker
from tests.worlds.fleet_world import TICK_S, World

REQUEST = ImageRequest(prompt="a red apple", seed=1, quality=Quality.HIGH)
LONG = replace(REQUEST, steps=200)


def die_measuring(world: World, agent: str) -> None:
    """Its worker dies while it measures, and another one loads."""
    world.daemons[agent].worker.measures_slowly = True
    world.run_until(lambda: world.state.agents[AgentId(agent)].measuring is not None)
    world.kill_worker(agent)
    world.deliver_up(world.daemons[agent])
    world.load(agent)
    world.daemons[agent].worker.measures_slowly = True


def excluded(world: World, job: JobId) -> dict[AgentId, ExclusionReason]:
    planned = world.told_of(job, ImagePlanned)[0]
    return {exclusion.agent: exclusion.reason for exclusion in planned.explanation.exclusions}


def pause(world: World, step: int | None) -> None:
    for daemon in world.daemons.values():
        daemon.worker.pause_at = step


def picture_that_a_newcomer_measures() -> tuple[World, JobId]:
    """A picture by a and b that stands still in its middle, for which c measures and does not come to an end."""
    world = World("a", "b")
    pause(world, 8)
    job = world.submit(LONG)
    world.settle()
    world.connect("c")
    world.daemons["c"].worker.measures_slowly = True
    world.load("c")
    world.settle()
    return world, job


# --- who dies measuring (while others can make the picture) ---------------------------------------------------------


def test_who_dies_measuring_for_a_job_is_left_out_of_it_while_others_can_make_it() -> None:
    world = World("a", "b")
    job = world.submit(replace(REQUEST, count=2, objective=Objective.THROUGHPUT))
    die_measuring(world, "b")
    world.run(job)
    assert world.ended[job] is None
    assert excluded(world, job) == {AgentId("b"): ExclusionReason.NOT_READY}
    assert len(world.sent("b", MeasureProfile)) == 1
    world.daemons["b"].worker.measures_slowly = False
    world.run(world.submit(REQUEST))
    assert len(world.sent("b", MeasureProfile)) == 2


def test_who_alone_can_make_it_is_asked_again_and_a_second_death_is_the_last() -> None:
    world = World("a")
    job = world.submit(REQUEST)
    die_measuring(world, "a")
    assert job not in world.ended
    die_measuring(world, "a")
    assert isinstance(world.ended[job], PictureFailedError)


def test_a_second_device_that_dies_measuring_is_the_last_for_a_job() -> None:
    world = World("a", "b", "c")
    for daemon in world.daemons.values():
        daemon.worker.measures_slowly = True
    job = world.submit(REQUEST)
    die_measuring(world, "a")
    assert job not in world.ended
    die_measuring(world, "b")
    assert isinstance(world.ended[job], PictureFailedError)


def test_who_cannot_measure_is_asked_once_a_job() -> None:
    world = World("a", "b")
    world.daemons["b"].worker.fail_at = 0
    job = world.submit(replace(REQUEST, count=4, objective=Objective.THROUGHPUT))
    world.run(job)
    assert world.ended[job] is None
    assert len(world.sent("b", MeasureProfile)) == 1


def test_a_newcomer_that_dies_measuring_costs_a_running_picture_nothing_and_is_not_asked_again() -> None:
    world = World("a")
    pause(world, 8)
    job = world.submit(LONG)
    world.settle()
    world.connect("b")
    world.daemons["b"].worker.measures_slowly = True
    world.load("b")
    die_measuring(world, "b")
    world.settle()
    assert len(world.sent("b", MeasureProfile)) == 1
    pause(world, None)
    world.run(job)
    assert world.ended[job] is None


@pytest.mark.parametrize("answers", [False, True], ids=["it dies", "it answers with another size"])
def test_who_is_lost_twice_while_it_measures_is_neither_asked_nor_waited_for(*, answers: bool) -> None:
    world = World("a")
    job = world.submit(REQUEST)
    for again in (False, True):
        if again:
            world.connect("a")
            world.load("a")
        world.daemons["a"].worker.measures_slowly = True
        world.run_until(lambda: world.state.agents[AgentId("a")].measuring is not None)
        assert job not in world.ended
        if answers:
            measure = world.sent("a", MeasureProfile)[-1]
            other = replace(measure, workload=replace(measure.workload, width_px=8))
            world.say("a", FakeWorker(AgentId("a"), world.fabric, per_row_s=0.01).measure(other))
        else:
            world.kill_daemon("a")
    assert isinstance(world.ended[job], NoAgentsError)


def test_whoever_is_left_out_of_a_job_is_not_waited_for_when_it_is_drained() -> None:
    world = World("a", "b")
    job = world.submit(REQUEST)
    die_measuring(world, "b")
    world.drain("b")
    world.kill_daemon("a")
    world.run_until(lambda: job in world.ended, limit_s=40.0)
    assert isinstance(world.ended[job], AgentsLostError | NoAgentsError)


# --- who comes while there is no plan -------------------------------------------------------------------------------


def refuse_plan(world: World, job: JobId) -> None:
    number = world.plans.popleft().number
    world.feed(PlanFailed(job=job, number=number, error=NoAgentsError("it fits on none of them")))


def test_a_newcomer_that_is_not_measured_yet_is_waited_for_where_there_is_no_plan_without_it() -> None:
    world = World("a")
    job = world.submit(REQUEST)
    world.run_until(lambda: bool(world.plans))
    world.connect("b")
    world.load("b")
    refuse_plan(world, job)
    assert job not in world.ended
    assert len(world.sent("b", MeasureProfile)) == 1
    world.run(job)
    assert world.ended[job] is None


def test_so_is_one_that_measures_when_the_rest_of_a_picture_has_no_plan() -> None:
    world, job = picture_that_a_newcomer_measures()
    assert world.state.agents[AgentId("c")].measuring is not None
    world.kill_worker("b")
    for daemon in world.daemons.values():
        world.deliver_up(daemon)
    world.run_until(lambda: bool(world.plans))
    assert world.sent("c", StopMeasuring) == []  # a picture that is planned anew still wants it
    refuse_plan(world, job)
    assert job not in world.ended
    assert not world.plans
    world.daemons["c"].worker.measures_slowly = False
    pause(world, None)
    world.run(job)
    assert world.ended[job] is None
    assert world.sent("c", StartEpoch)


def test_who_measures_for_ever_is_waited_for_no_longer_than_that() -> None:
    world = World("a")
    job = world.submit(REQUEST)
    world.run_until(lambda: bool(world.plans))
    world.connect("b")
    world.daemons["b"].worker.measures_slowly = True
    world.load("b")
    refuse_plan(world, job)
    world.run_until(lambda: bool(world.plans), limit_s=130.0)
    assert world.now_s >= world.state.limits.profile_timeout_s
    refuse_plan(world, job)
    assert isinstance(world.ended[job], NoAgentsError)


def test_who_waits_for_an_agent_that_has_left_looks_again_when_it_is_not_expected_any_more() -> None:
    world = World("a", "b")
    job = world.submit(REQUEST)
    world.run_until(lambda: bool(world.plans))
    world.kill_daemon("b")
    refuse_plan(world, job)
    assert [told.reason for told in world.told_of(job, JobDelayed)] == [
        "it fits on none of them; b may be back in a moment"
    ]
    begun_s = world.now_s
    while not world.plans:
        world.tick()
    assert world.now_s - begun_s <= world.state.limits.return_grace_s + 2 * TICK_S
    refuse_plan(world, job)
    assert isinstance(world.ended[job], NoAgentsError | AgentsLostError)


# --- whose measurement is wanted, late, and told --------------------------------------------------------------------


def test_nobody_wants_what_a_drained_agent_measures() -> None:
    world = World("a", "b")
    for daemon in world.daemons.values():
        daemon.worker.measures_slowly = True
    world.submit(REQUEST)
    world.settle()
    world.drain("b")
    assert len(world.sent("b", StopMeasuring)) == 1
    assert world.sent("a", StopMeasuring) == []


def test_a_measurement_that_is_late_keeps_the_others_of_its_host_from_theirs_no_longer() -> None:
    world = World("a", "b", host="the same machine")
    world.daemons["a"].worker.measures_slowly = True
    job = world.submit(REQUEST)
    world.run_until(lambda: bool(world.sent("b", MeasureProfile)), limit_s=130.0)
    assert world.now_s >= world.state.limits.profile_timeout_s
    assert ("a",) not in [told.agents for told in world.told_of(job, ProfilingProgressed)[1:]]
    world.run(job)
    assert excluded(world, job) == {AgentId("a"): ExclusionReason.TOO_SLOW}


def test_who_waits_for_its_own_size_is_told_of_that_one_whatever_else_is_measured() -> None:
    world = World("a", "b")
    for daemon in world.daemons.values():
        daemon.worker.measures_slowly = True
    job = world.submit(REQUEST)
    world.settle()
    agent = world.state.agents[AgentId("a")]
    assert agent.measuring is not None
    other = replace(agent.measuring, workload=replace(agent.measuring.workload, width_px=128))
    state = replace(world.state, agents={**world.state.agents, agent.agent: replace(agent, measuring=other)})
    picture = state.jobs[job].pictures[0]
    told = measuring_message(state, picture, (AgentId("a"), AgentId("b")), world.now_s)
    assert (told.width_px, told.agents) == (64, ("b",))
    behind = measuring_message(state, picture, (AgentId("a"),), world.now_s)
    assert (behind.width_px, behind.agents) == (128, ("a",))


# --- what a picture keeps over its epochs ---------------------------------------------------------------------------


def test_plans_for_changed_speeds_are_counted_over_all_epochs_of_a_picture() -> None:
    world = World("a", "b", "c")
    pause(world, 8)
    world.daemons["a"].worker.slowdown = 2.0
    job = world.submit(LONG)
    world.settle()
    pause(world, 60)
    world.settle()
    world.daemons["a"].worker.slowdown = 6.0
    pause(world, 90)
    world.settle()
    assert len(world.told_of(job, ImageReplanned)) == 2
    picture = world.state.jobs[job].pictures[0]
    assert picture.speed_plans == 2
    world.kill_worker("c")
    world.settle()
    phase = world.state.jobs[job].pictures[0].phase
    assert isinstance(phase, Running)
    assert world.state.jobs[job].pictures[0].speed_plans == 2
    replan = world.state.epochs[phase.epoch].replan
    assert {replan.watch(agent).times for agent in (AgentId("a"), AgentId("b"))} == {2}
    pause(world, None)
    world.run(job)


def test_a_newcomer_that_measures_is_not_asked_again_by_the_next_epoch() -> None:
    world, job = picture_that_a_newcomer_measures()
    world.kill_worker("b")
    world.settle()
    assert isinstance(world.state.jobs[job].pictures[0].phase, Running | Planning)
    assert len(world.sent("c", MeasureProfile)) == 1
    assert world.sent("c", StopMeasuring) == []
    world.daemons["c"].worker.measures_slowly = False
    pause(world, None)
    world.run(job)
