"""The picture goes on after a loss: in every phase of it, and from which boundary."""

from __future__ import annotations

import pytest

from polyrhythm.errors import CancelledError
from polyrhythm.ids import AgentId
from polyrhythm.job.events import AgentFailed, ImagePlanned, ImageProgressed, ImageReplanned, JobDelayed
from polyrhythm.job.image import ImageRequest, Quality
from polyrhythm.session.commands import AbortEpoch, StartEpoch
from polyrhythm_coordinator.scheduling.epochs.resume import resume_step
from tests.worlds.fleet_world import World
from tests.worlds.paused_pictures import HIGH, at_step, go_on, report_of


@pytest.mark.parametrize(
    ("held", "step"),
    [
        ([{4, 8}, {4, 8}], 8),
        ([{4, 8}, {8, 12}], 8),
        ([{8}, {8, 12}], 8),
        ([{4, 8}, {12, 16}], 0),
        ([{4, 8}, {4, 12}], 4),
        ([{4, 8}, set()], 8),
        ([set(), set()], 0),
        ([], 0),
        ([{36, 40}, {36, 40}], 36),
        ([{40}, {40}], 0),
    ],
)
def test_the_lowest_newest_boundary_that_all_hold(held: list[set[int]], step: int) -> None:
    assert resume_step(map(frozenset, held), 40) == step


@pytest.mark.parametrize("kill", ["kill_worker", "kill_daemon"])
def test_the_rest_is_done_by_the_survivors(kill: str) -> None:
    world, job = at_step(12, "a", "b")
    getattr(world, kill)("b")
    go_on(world)
    world.run(job)
    (failed,) = world.told_of(job, AgentFailed)
    assert failed.agent == "b"
    (replanned,) = world.told_of(job, ImageReplanned)
    assert replanned.begin_step >= 12
    assert replanned.plan.agents == ("a",)
    last = world.sent("a", StartEpoch)[-1]
    assert (last.begin_step, last.root, last.plan_version) == (replanned.begin_step, "a", 2)
    report = report_of(world, job).report
    assert [plan.agents for plan in report.plans] == [("a", "b"), ("a",)]
    usage = {usage.agent: usage.rows for usage in report.agents}
    assert max(rows.end_step for rows in usage[AgentId("b")]) == replanned.begin_step
    assert max(rows.end_step for rows in usage[AgentId("a")]) == 40
    assert world.now_s < 1.0


def test_the_rest_is_planned_at_the_speeds_that_were_seen() -> None:
    """The slowdown comes too late for a plan of its own; the profile's average has hardly noticed it."""
    world, job = at_step(28, "a", "b", "c")
    world.daemons["a"].worker.slowdown = 3.0
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 36
    world.settle()
    assert world.told_of(job, ImageReplanned) == []
    world.kill_worker("c")
    world.settle()
    (replanned,) = world.told_of(job, ImageReplanned)
    rest = replanned.plan.segments[0]
    assert [rest.of(AgentId(name)).rows.count for name in "ab"] == [2, 6]
    (epoch,) = world.state.epochs.values()
    assert epoch.forecast.left_s(36) == pytest.approx(4 * 6 * 0.01 + 0.02, rel=0.1)
    go_on(world)
    world.run(job)
    report_of(world, job)


def test_a_third_agent_steps_in() -> None:
    world, job = at_step(12, "a", "b", "c")
    planned = world.told_of(job, ImagePlanned)[0].explanation.chosen.plan.agents
    assert planned == ("a", "b", "c")
    world.kill_worker("c")
    world.connect("d")
    world.load("d")
    go_on(world)
    world.run(job)
    (replanned,) = world.told_of(job, ImageReplanned)
    # d was never measured, and a picture that has begun does not wait for that.
    assert replanned.plan.agents == ("a", "b")
    assert replanned.begin_step >= 12


def test_a_ready_agent_takes_over_when_the_last_holder_dies_while_the_rest_is_planned() -> None:
    world = World("a", "b", "c", per_row_s={"c": 0.5})
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 12
    job = world.submit(HIGH)
    world.settle()
    (planned,) = world.told_of(job, ImagePlanned)
    assert planned.explanation.chosen.plan.agents == ("a", "b")
    world.kill_worker("b")
    while not world.plans:
        for daemon in world.daemons.values():
            world.deliver_down(daemon)
            world.work(daemon)
            world.deliver_up(daemon)
    world.kill_daemon("a")
    world.settle()
    world.daemons["c"].worker.pause_at = None
    world.run(job)
    assert report_of(world, job).report.plans[-1].agents == ("c",)
    (replanned,) = world.told_of(job, ImageReplanned)
    assert replanned.begin_step == 0


def test_loss_while_the_gang_forms_starts_again() -> None:
    world = World("a", "b")
    job = world.submit()
    world.run_until(lambda: bool(world.sent("b", StartEpoch)))
    world.kill_worker("b")
    world.run(job)
    (replanned,) = world.told_of(job, ImageReplanned)
    assert replanned.begin_step == 0
    assert report_of(world, job).report.plans[-1].agents == ("a",)


def test_a_gang_that_never_forms_is_given_up() -> None:
    world = World("a", "b")
    job = world.submit()
    world.run_until(lambda: bool(world.sent("b", StartEpoch)))
    world.daemons["b"].worker.hung = True
    world.run(job)
    assert report_of(world, job).report.plans[-1].agents == ("a",)
    assert world.now_s < 18


def test_loss_of_the_decoder_after_the_last_step_repeats_only_the_last_beat() -> None:
    world, job = at_step(40, "a", "b")
    (plan,) = [event.explanation.chosen.plan for event in world.told_of(job, ImagePlanned)]
    assert world.told_of(job, ImageProgressed)[-1].step == 40
    world.kill_worker(plan.decoder)
    go_on(world)
    world.run(job)
    (replanned,) = world.told_of(job, ImageReplanned)
    assert 0 < replanned.begin_step < 40
    assert plan.decoder not in replanned.plan.agents
    report_of(world, job)


def test_a_silent_daemon_in_mid_image() -> None:
    world, job = at_step(12, "a", "b")
    world.daemons["b"].silent = True
    world.daemons["b"].worker.hung = True
    go_on(world)
    world.run(job)
    assert report_of(world, job).report.plans[-1].agents == ("a",)
    assert world.now_s < 2.0


def test_a_picture_is_done_although_the_daemon_of_one_member_has_fallen_silent() -> None:
    world, job = at_step(12, "a", "b")
    world.daemons["b"].silent = True  # its worker goes on
    go_on(world)
    world.run(job)
    assert [plan.agents for plan in report_of(world, job).report.plans] == [("a", "b")]


def test_a_hung_worker_is_found_by_its_lack_of_progress() -> None:
    world, job = at_step(12, "a", "b")
    world.daemons["b"].worker.hung = True
    go_on(world)
    world.run(job)
    assert "b" not in world.state.agents
    assert report_of(world, job).report.plans[-1].agents == ("a",)


def test_a_survivor_that_does_not_answer_an_abort_is_lost_too() -> None:
    world, job = at_step(12, "a", "b", "c")
    world.kill_worker("b")
    world.daemons["c"].worker.hung = True
    go_on(world)
    world.run(job)
    assert {event.agent for event in world.told_of(job, AgentFailed)} == {"b", "c"}
    assert report_of(world, job).report.plans[-1].agents == ("a",)
    assert "c" not in world.state.agents
    assert world.now_s < 2.5


def test_a_survivor_that_encodes_when_a_peer_dies_has_the_time_to_end() -> None:
    world = World("a", "b")
    for daemon in world.daemons.values():
        daemon.worker.encode_s = 5.0
    job = world.submit()
    world.run_until(lambda: bool(world.sent("b", StartEpoch)))
    start = world.sent("b", StartEpoch)[-1]
    assert start.uninterruptible_s == 5.0
    survivor = world.daemons[start.root]
    (other,) = set(start.members) - {start.root}
    survivor.worker.hung = True
    world.kill_worker(other)
    world.run_until(lambda: bool(world.sent(start.root, AbortEpoch)))
    for _ in range(100):  # twice the prediction
        world.tick()
    assert start.root in world.state.agents
    survivor.worker.hung = False
    world.run(job)
    assert report_of(world, job).report.plans[-1].agents == (start.root,)


def test_a_cancel_lets_the_picture_that_is_being_decoded_end() -> None:
    world, job = at_step(40, "a", "b")
    (plan,) = [event.explanation.chosen.plan for event in world.told_of(job, ImagePlanned)]
    decoder = world.daemons[plan.decoder]
    decoder.worker.hung = True
    world.cancel(job, CancelledError("the client hung up"))
    for _ in range(95):  # much longer than a boundary is waited for
        world.tick()
        world.settle()
    assert world.sent(plan.decoder, AbortEpoch) == []
    decoder.worker.hung = False
    following = world.submit()
    world.run(following)
    assert world.ended[following] is None
    assert set(world.state.agents) == {"a", "b"}


def test_a_decoder_that_hangs_after_a_cancel_is_aborted_in_the_end() -> None:
    world, job = at_step(40, "a", "b")
    (plan,) = [event.explanation.chosen.plan for event in world.told_of(job, ImagePlanned)]
    world.daemons[plan.decoder].worker.hung = True
    world.cancel(job, CancelledError("the client hung up"))
    world.run_until(lambda: plan.decoder not in world.state.agents)
    assert 10.0 < world.now_s < 15.0


def test_a_picture_waits_for_an_agent_that_loads_when_its_last_member_dies() -> None:
    world, job = at_step(12, "a")
    world.connect("b")
    world.kill_worker("a")
    world.settle()
    (told,) = world.told_of(job, JobDelayed)
    assert told.reason == "nobody is ready: the workers of b are loading"
    world.load("b")
    world.run(job)
    report_of(world, job)


def test_a_picture_waits_for_an_agent_that_reconnects_when_its_last_member_dies() -> None:
    world, job = at_step(12, "a")
    world.connect("b")
    world.load("b")
    world.kill_daemon("b")
    world.kill_worker("a")
    world.settle()
    (told,) = world.told_of(job, JobDelayed)
    assert told.reason == "nobody is ready: b may be back in a moment"
    world.connect("b")
    world.load("b")
    world.run(job)
    report_of(world, job)


def test_a_loss_during_the_wind_up_of_a_cancelled_job_is_nobodys_failure() -> None:
    world, job = at_step(12, "a", "b")
    following = world.submit()
    world.cancel(job, CancelledError("enough"))
    world.kill_worker("b")
    go_on(world)
    world.run(following)
    assert world.ended[following] is None
    assert world.told_of(job, AgentFailed) == []


def test_boundaries_of_another_picture_are_never_resumed_from() -> None:
    world = World("a", "b")
    job = world.submit(ImageRequest(prompt="two", seed=1, quality=Quality.HIGH, steps=40, count=2))
    world.run_until(lambda: len(world.sent("a", StartEpoch)) == 2)
    # Both workers still hold the last boundaries of the first picture.
    world.kill_worker("b")
    world.run(job)
    (replanned,) = world.told_of(job, ImageReplanned)
    assert (replanned.image_index, replanned.begin_step) == (1, 0)


def test_if_no_member_of_the_best_plan_holds_the_state_a_holder_joins_it_without_rows() -> None:
    world = World("a", "b", "fast", per_row_s={"fast": 1e-5})
    measured = world.submit(HIGH, explain_only=True)
    world.run(measured)
    assert world.told_of(measured, ImagePlanned)[0].explanation.chosen.plan.agents == ("fast",)
    world.kill_daemon("fast")
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 12
    job = world.submit(HIGH)
    world.settle()
    world.connect("fast")
    world.load("fast")
    world.kill_worker("b")
    go_on(world)
    world.run(job)
    plans = report_of(world, job).report.plans
    assert [(plan.begin_step, plan.agents) for plan in plans] == [(0, ("a", "b")), (12, ("a", "fast"))]
    assert not any(segment.of(AgentId("a")).rows.count for segment in plans[1].segments)
    assert world.sent("fast", StartEpoch)[-1].root == "a"


def test_a_newcomer_that_would_encode_gets_the_state_from_a_survivor() -> None:
    world = World("a", "b", "c", per_row_s={"c": 0.02})
    measured = world.submit(HIGH, explain_only=True)
    world.run(measured)
    world.kill_daemon("a")
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 12
    job = world.submit(HIGH)
    world.settle()
    world.connect("a")
    world.load("a")
    world.kill_worker("c")
    go_on(world)
    world.run(job)
    first, second = world.sent("b", StartEpoch)
    assert (first.members, second.members) == (("b", "c"), ("a", "b"))
    plans = report_of(world, job).report.plans
    assert (plans[-1].encoder, second.root, second.begin_step) == ("a", "b", 12)


def test_links_of_a_gang_are_kept_for_the_planner() -> None:
    world, job = at_step(12, "a", "b")
    assert set(world.state.links) == {("FAKE-a", "FAKE-b"), ("FAKE-b", "FAKE-a")}
    explained = world.submit(HIGH, explain_only=True)
    world.settle()
    links = world.told_of(explained, ImagePlanned)[0].explanation.links
    assert [(link.sender, link.receiver) for link in links] == [("a", "b"), ("b", "a")]
    assert job not in world.ended
