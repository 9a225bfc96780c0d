"""Pictures that fail without a loss, or on whoever tries them: what is tried again, and what ends the job."""

from __future__ import annotations

from polyrhythm.errors import InternalError, PictureFailedError
from polyrhythm.ids import AgentId
from polyrhythm.job.events import AgentFailed
from polyrhythm.session.commands import MeasureProfile, StartEpoch
from polyrhythm.session.events import WorkerLost
from tests.worlds.fleet_world import World
from tests.worlds.paused_pictures import at_step, go_on, report_of


def test_a_failure_without_a_loss_is_tried_again_with_a_new_gang() -> None:
    world, job = at_step(12, "a", "b")
    world.daemons["a"].worker.fail_at = 12
    go_on(world)
    world.run_until(lambda: len(world.sent("a", StartEpoch)) == 2)
    world.daemons["a"].worker.fail_at = None
    world.run(job)
    first, second = world.sent("a", StartEpoch)
    assert first.gang != second.gang
    assert first.members == second.members == ("a", "b")
    assert second.begin_step == 12
    assert AgentFailed(agent=AgentId("a"), reason="not a number") in world.told[job]
    report_of(world, job)


def test_a_failure_that_repeats_ends_the_job() -> None:
    world, job = at_step(12, "a", "b")
    world.daemons["a"].worker.fail_at = 12
    go_on(world)
    world.run(job)
    error = world.ended[job]
    assert isinstance(error, InternalError)
    assert "not a number" in str(error)
    assert len(world.sent("a", StartEpoch)) == 3
    world.daemons["a"].worker.fail_at = None
    following = world.submit()
    world.run(following)
    assert world.ended[following] is None


def test_a_request_that_ends_two_workers_is_tried_by_no_third() -> None:
    world, job = at_step(12, "a", "b", "c", "d")
    for victim in ("d", "c"):
        world.kill_worker(victim)
        world.settle()
    assert job in world.ended
    error = world.ended[job]
    assert isinstance(error, PictureFailedError)
    assert "d (killed); then c (killed)" in str(error)
    assert all(world.daemons[spared].worker is not None and not world.daemons[spared].loading for spared in "ab")
    go_on(world)
    following = world.submit()
    world.run(following)
    assert world.ended[following] is None


def test_devices_that_are_lost_say_nothing_about_the_picture() -> None:
    world, job = at_step(12, "a", "b", "c")
    for victim in ("c", "b"):
        world.kill_daemon(victim)
        world.settle()
    go_on(world)
    world.run(job)
    assert report_of(world, job).report.plans[-1].agents == ("a",)


def test_a_request_that_ends_workers_while_they_measure_is_given_up() -> None:
    world = World("a", "b")
    job = world.submit()
    asked = world.daemons["a"]  # how many tokens the prompt has
    while not world.sent("a", MeasureProfile):
        world.deliver_down(asked)
        world.deliver_up(asked)
    for victim in "ab":
        assert job not in world.ended
        assert world.state.agents[AgentId(victim)].measuring is not None
        world.say(victim, WorkerLost(reason="killed"))
    error = world.ended[job]
    assert isinstance(error, PictureFailedError)
    assert "a (killed); then b (killed)" in str(error)


def test_what_came_out_as_no_picture_is_not_tried_again() -> None:
    world, job = at_step(12, "a", "b")
    world.daemons["a"].worker.fail_at, world.daemons["a"].worker.no_picture = 12, True
    go_on(world)
    world.run(job)
    error = world.ended[job]
    assert isinstance(error, PictureFailedError)
    assert str(error) == "a made no picture of it: not a number"
    assert len(world.sent("a", StartEpoch)) == 1
    assert AgentFailed(agent=AgentId("a"), reason="not a number") in world.told[job]
