"""A member changes its speed in mid-image: a newer plan for the rest, if it is worth it and comes in time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import CancelledError, WireError
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import ImageCompleted, ImageReplanned, ReplanReason
from polyrhythm.job.image import ImageRequest, Quality
from polyrhythm.plan.plan import Exchange
from polyrhythm.session.commands import AbortEpoch, ExtendPlan, StartEpoch
from polyrhythm.session.events import BeatDone
from polyrhythm_coordinator.scheduling.epochs.plan_switch import takeover_step
from polyrhythm_coordinator.scheduling.planning.speed_change import SpeedWatch
from polyrhythm_coordinator.scheduling.state.effects import DisconnectAgent
from polyrhythm_coordinator.scheduling.state.events import AgentEventReceived
from tests.values.plans import exact_plan
from tests.worlds.fleet_world import World

HIGH = ImageRequest(prompt="a red apple", seed=1, quality=Quality.HIGH, steps=40)
"""Ten beats of 0.16 s each on two equal agents."""
A, B = AgentId("a"), AgentId("b")


def at_step(step: int, *, request: ImageRequest = HIGH, slow: float = 1.0) -> tuple[World, JobId]:
    """Two equal agents, one of which has slowed down, stand at a boundary; all that follows has happened."""
    world = World("agent-0" if request.plan else "a", "agent-1" if request.plan else "b")
    pause(world, step)
    world.daemons[min(world.daemons)].worker.slowdown = slow
    job = world.submit(request)
    world.settle()
    return world, job


def pause(world: World, step: int | None) -> None:
    for daemon in world.daemons.values():
        daemon.worker.pause_at = step


def newer_versions(world: World, agent: str = "a") -> list[ExtendPlan]:
    first = world.sent(agent, StartEpoch)[0].plan_version
    return [command for command in world.sent(agent, ExtendPlan) if command.plan_version != first]


def completed(world: World, job: JobId) -> ImageCompleted:
    pause(world, None)
    world.run(job)
    assert world.ended[job] is None
    return world.told_of(job, ImageCompleted)[0]


def test_a_member_at_half_its_speed_gives_rows_away() -> None:
    world, job = at_step(8, slow=2.0)
    newer = newer_versions(world, "a")
    assert newer == newer_versions(world, "b")
    assert [(command.plan_version, command.complete) for command in newer] == [(2, True)]
    assert newer[0].memory_need_bytes > 0
    assert world.told_of(job, ImageReplanned) == []  # nobody follows it yet
    report = completed(world, job).report
    (replanned,) = world.told_of(job, ImageReplanned)
    assert replanned.reason is ReplanReason.SPEED_CHANGED
    assert (replanned.begin_step, replanned.plan.version) == (10, 2)
    first, second = report.plans
    assert (first.begin_step, second.begin_step, first.agents) == (0, 10, second.agents)
    assert second.segments[0].exchange is Exchange.SYNCHRONOUS
    assert second.segments[-1].of(A).rows.count < first.segments[-1].of(A).rows.count
    held = {usage.agent: usage.rows for usage in report.agents}[A]
    assert [(rows.begin_step, rows.end_step) for rows in held] == [(0, 4), (4, 10), (10, 11), (11, 40)]
    assert len(world.sent("a", StartEpoch)) == 1
    assert [daemon.worker.stalls for daemon in world.daemons.values()] == [0, 0]


def test_the_next_picture_is_planned_with_the_speed_that_was_found() -> None:
    world, job = at_step(8, slow=2.0)
    completed(world, job)
    following = world.submit(replace(HIGH, quality=Quality.EXACT))
    world.run(following)
    rows = world.sent("a", StartEpoch)[-1].segments[-1].of(A).rows.count
    assert rows < 4


@pytest.mark.parametrize("slow", [1.1, 0.9, 1.2])
def test_a_small_change_is_no_reason(slow: float) -> None:
    world, job = at_step(8, slow=slow)
    assert not newer_versions(world)
    assert len(completed(world, job).report.plans) == 1


def test_one_slow_step_is_no_reason() -> None:
    world, job = at_step(4)
    world.daemons["a"].worker.hiccup = 3.0
    pause(world, 12)
    world.settle()
    assert not newer_versions(world)
    assert len(completed(world, job).report.plans) == 1


def test_what_slows_all_alike_is_no_reason_and_is_weighed_once() -> None:
    world = World("a", "b")
    pause(world, 8)
    for daemon in world.daemons.values():
        daemon.worker.slowdown = 2.0
    job = world.submit(HIGH)
    world.settle()
    assert not newer_versions(world)
    (epoch,) = world.state.epochs.values()
    assert [watch.known for watch in epoch.replan.watches.values()] == [2.0, 2.0]
    pause(world, 20)
    world.settle()
    assert world.state.jobs[job].pictures[0].last_version == 1
    completed(world, job)


def test_a_load_that_goes_away_brings_the_rows_back() -> None:
    world = World("a", "b")
    pause(world, 8)
    world.daemons["a"].worker.slowdown = 2.0
    job = world.submit(replace(HIGH, steps=100))
    world.settle()
    pause(world, 48)
    world.settle()
    world.daemons["a"].worker.slowdown = 1.0
    pause(world, 57)
    world.settle()
    report = completed(world, job).report
    assert [event.reason for event in world.told_of(job, ImageReplanned)] == [ReplanReason.SPEED_CHANGED] * 2
    assert [plan.version for plan in report.plans] == [1, 2, 3]
    rows = [plan.segments[-1].of(A).rows.count for plan in report.plans]
    assert rows[0] == rows[2] > rows[1]


def test_what_a_member_does_while_a_newer_plan_is_on_its_way_is_held_against_that_plan() -> None:
    world, job = at_step(8, slow=1.6)
    assert [command.plan_version for command in newer_versions(world)] == [2]
    world.daemons["a"].worker.slowdown = 3.2
    pause(world, 11)  # the first boundary of the newer plan
    world.settle()
    assert [command.plan_version for command in newer_versions(world)] == [2, 3]
    _, second, third = completed(world, job).report.plans
    assert (second.begin_step, third.begin_step) == (10, 17)
    assert third.segments[-1].of(A).rows.count < second.segments[-1].of(A).rows.count


def test_a_plan_of_the_client_is_followed_however_slow_it_has_become() -> None:
    world, job = at_step(8, request=replace(HIGH, plan=exact_plan(40, (4, 4))), slow=3.0)
    assert not newer_versions(world, "agent-0")
    assert len(completed(world, job).report.plans) == 1


def test_a_version_that_reaches_a_member_too_late_is_followed_by_nobody_and_the_next_one_has_more_time() -> None:
    world = World("a", "b")
    pause(world, 4)
    job = world.submit(replace(HIGH, steps=100))
    world.settle()
    world.daemons["a"].worker.slowdown = 2.0
    pause(world, None)
    prompt, late = world.daemons["a"], world.daemons["b"]
    while len(newer_versions(world)) < 2:
        world.answer_plan()
        world.deliver_down(prompt)
        for daemon in (prompt, late):
            world.work(daemon)
            world.deliver_up(daemon)
    assert [command.plan_version for command in newer_versions(world)] == [2, 3]
    (epoch,) = world.state.epochs.values()
    assert epoch.replan.lead_s == 2 * world.state.limits.replan_lead_s
    first, second = completed(world, job).report.plans
    assert first.version == 1
    assert second.version > 2


def test_a_late_version_is_dropped_when_a_report_says_so() -> None:
    world, job = at_step(8, slow=2.0)
    (epoch,) = world.state.epochs.values()
    takeover = epoch.replan.takeover
    assert takeover is not None
    beat = next(b for b in epoch.plan.beats() if b.begin_step == takeover.plan.begin_step)
    late = report_of(world, beat.end_step, version=1)
    world.say("a", late)
    (epoch,) = world.state.epochs.values()
    assert epoch.replan.takeover is None
    assert epoch.replan.lead_s == 2 * world.state.limits.replan_lead_s
    assert world.told_of(job, ImageReplanned) == []


def test_reports_of_a_version_that_nobody_was_sent_cost_an_agent_its_stream() -> None:
    world, _ = at_step(8)
    effects = world.say("a", report_of(world, 12, version=7))
    (error,) = (effect.error for effect in effects if isinstance(effect, DisconnectAgent))
    assert isinstance(error, WireError)
    assert str(error).startswith("beat_done.plan_version: 7")


def test_a_report_of_the_version_before_from_beyond_the_takeover_costs_an_agent_its_stream() -> None:
    world, job = at_step(8, slow=2.5)
    pause(world, None)
    world.run_until(lambda: bool(world.told_of(job, ImageReplanned)))
    (epoch,) = world.state.epochs.values()
    effects = world.say("a", report_of(world, epoch.boundary + 1, version=1))
    (error,) = (effect.error for effect in effects if isinstance(effect, DisconnectAgent))
    assert str(error) == f"beat_done.plan_version: 2 is followed from step {epoch.plan.begin_step} on"


def test_a_slower_member_may_still_report_the_version_before() -> None:
    world, job = at_step(8, slow=2.0)
    for daemon in world.daemons.values():
        daemon.worker.pause_at = None
    slow = world.daemons["b"]
    while not world.told_of(job, ImageReplanned):
        for daemon in world.daemons.values():
            world.deliver_down(daemon)
            world.work(daemon)
        world.deliver_up(world.daemons["a"])
    assert any(isinstance(event, BeatDone) and event.report.plan_version == 1 for event in slow.up)
    assert len(completed(world, job).report.plans) == 2


def test_a_loss_after_the_takeover_goes_on_from_the_newer_plan() -> None:
    world, job = at_step(8, slow=2.0)
    pause(world, 32)
    world.settle()
    world.kill_worker("a")
    report = completed(world, job).report
    assert [(plan.begin_step, plan.agents, plan.version) for plan in report.plans] == [
        (0, (A, B), 1),
        (10, (A, B), 2),
        (report.plans[2].begin_step, (B,), 3),
    ]
    assert report.plans[2].begin_step > 10
    assert [event.reason for event in world.told_of(job, ImageReplanned)] == [
        ReplanReason.SPEED_CHANGED,
        ReplanReason.AGENT_LOST,
    ]


def test_a_loss_before_the_takeover_leaves_no_trace_of_it() -> None:
    world, job = at_step(8, slow=2.0)
    assert newer_versions(world)
    world.kill_worker("a")
    report = completed(world, job).report
    assert [(plan.begin_step, plan.version) for plan in report.plans] == [(0, 1), (8, 3)]


def test_a_cancel_while_a_newer_plan_is_on_its_way() -> None:
    world, job = at_step(8, slow=2.0)
    following = world.submit(HIGH)
    world.cancel(job, CancelledError("enough"))
    pause(world, None)
    world.run(following)
    assert world.ended[following] is None
    assert world.sent("a", AbortEpoch) == []


def test_too_late_in_the_picture_nothing_is_searched() -> None:
    world, job = at_step(34)
    world.daemons["a"].worker.slowdown = 2.0
    assert len(completed(world, job).report.plans) == 1
    assert not newer_versions(world)


def test_the_boundary_of_a_takeover_allows_for_the_age_of_reports() -> None:
    world, _ = at_step(8)
    (epoch,) = world.state.epochs.values()
    assert epoch.report_age_s == world.state.limits.heartbeat_interval_s
    told_at_once, at_s = replace(epoch, report_age_s=0.0), epoch.reported_s
    # A boundary ahead to agree at, one to take over; then a beat of 0.08 s more for each that may have passed unseen.
    assert takeover_step(told_at_once, at_s, 0.0) == 12
    assert takeover_step(told_at_once, at_s, 0.17) == 16
    assert takeover_step(told_at_once, at_s + 0.17, 0.17) == 20
    assert takeover_step(epoch, at_s, 0.17) == 22
    assert takeover_step(epoch, at_s, 60.0) is None


def test_members_that_have_slowed_down_pass_fewer_boundaries_unseen() -> None:
    world, _ = at_step(8)
    (epoch,) = world.state.epochs.values()
    slower = replace(epoch.replan, watches={A: SpeedWatch(known=2.0)})
    told_at_once = replace(epoch, report_age_s=0.0, replan=slower)
    assert takeover_step(told_at_once, epoch.reported_s, 0.17) == 14


def test_a_change_of_speed_is_told_at_once_and_taken_at_its_word() -> None:
    world, _ = at_step(8)
    world.daemons["a"].worker.slowdown = 2.0
    pause(world, 10)
    world.settle()
    (epoch,) = world.state.epochs.values()
    assert epoch.report_age_s == 0.0
    assert [command.segments[0].begin_step for command in newer_versions(world)] == [14]


def report_of(world: World, boundary: int, *, version: int) -> BeatDone:
    """Another report of the first agent."""
    said = [event.event for _, event, _ in world.log if isinstance(event, AgentEventReceived)]
    known = next(event.report for event in said if isinstance(event, BeatDone))
    return BeatDone(report=replace(known, boundary_step=boundary, plan_version=version))
