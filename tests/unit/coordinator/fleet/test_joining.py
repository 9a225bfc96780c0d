"""Agents that become ready while a picture runs: it goes on with them where that is worth a new gang."""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import ImageCompleted, ImageReplanned, ProfilingProgressed, ReplanReason
from polyrhythm.job.image import ImageRequest, Quality
from polyrhythm.job.reports import JobReport
from polyrhythm.session.commands import AbortEpoch, CancelEpoch, MeasureProfile, StartEpoch
from tests.values.plans import exact_plan
from tests.worlds.fleet_world import World

LONG = ImageRequest(prompt="a red apple", seed=1, quality=Quality.HIGH, steps=200)
"""Sixteen seconds on one agent of 80 ms a step."""


def alone(request: ImageRequest = LONG, **per_row_s: float) -> tuple[World, JobId]:
    """One agent stands at a boundary of its picture; others of these speeds may come."""
    world = World("agent-0" if request.plan else "a", per_row_s=per_row_s)
    pause(world, 8)
    job = world.submit(request)
    world.settle()
    return world, job


def pause(world: World, step: int | None) -> None:
    for daemon in world.daemons.values():
        daemon.worker.pause_at = step


def arrive(world: World, agent: str) -> None:
    world.connect(agent)
    world.load(agent)
    world.settle()


def finished(world: World, job: JobId) -> JobReport:
    pause(world, None)
    world.run(job)
    assert world.ended[job] is None
    return world.told_of(job, ImageCompleted)[0].report


def test_a_newcomer_measures_the_size_and_joins_at_a_boundary() -> None:
    world, job = alone()
    arrive(world, "b")
    assert [event.agents for event in world.told_of(job, ProfilingProgressed)] == [("a",), ("b",)]
    report = finished(world, job)
    (replanned,) = world.told_of(job, ImageReplanned)
    assert (replanned.reason, replanned.begin_step) == (ReplanReason.AGENT_JOINED, 10)
    assert [(plan.begin_step, plan.agents) for plan in report.plans] == [(0, ("a",)), (10, ("a", "b"))]
    start = world.sent("b", StartEpoch)[-1]
    assert (start.begin_step, start.root) == (10, "a")
    assert world.sent("a", AbortEpoch) == []


def test_a_newcomer_that_is_too_slow_is_left_out_and_not_weighed_again() -> None:
    world, job = alone(b=1.0)
    arrive(world, "b")
    pause(world, 100)
    world.settle()
    assert len(finished(world, job).plans) == 1
    assert len(world.sent("b", MeasureProfile)) == 1
    assert world.sent("a", CancelEpoch) == []


def test_shortly_before_the_end_nobody_is_asked() -> None:
    world, job = alone(replace(LONG, steps=40))
    arrive(world, "b")
    assert world.sent("b", MeasureProfile) == []
    assert len(finished(world, job).plans) == 1


def test_a_newcomer_that_saves_less_than_a_new_gang_costs_is_left_out() -> None:
    world = World("a", "b")
    request = replace(LONG, steps=16)
    world.run(world.submit(request))  # the size is known
    world.kill_daemon("b")
    pause(world, 4)
    job = world.submit(request)
    world.settle()
    arrive(world, "b")
    world.daemons["b"].worker.pause_at = None
    assert len(finished(world, job).plans) == 1
    assert world.sent("a", CancelEpoch) == []


def test_a_newcomer_that_cannot_measure_is_asked_once() -> None:
    world, job = alone()
    world.connect("b")
    world.daemons["b"].worker.fail_at = 0
    world.load("b")
    world.settle()
    assert len(finished(world, job).plans) == 1
    assert len(world.sent("b", MeasureProfile)) == 1


def test_a_much_faster_newcomer_gets_all_rows_and_the_state_from_a_member() -> None:
    world, job = alone(b=1e-4)
    arrive(world, "b")
    report = finished(world, job)
    assert report.plans[1].agents == ("a", "b")
    assert not any(segment.of(AgentId("a")).rows.count for segment in report.plans[1].segments)
    assert world.sent("b", StartEpoch)[-1].root == "a"
    assert report.plans[1].decoder == "b"


def test_a_plan_of_the_client_waits_for_nobody() -> None:
    world, job = alone(replace(LONG, plan=exact_plan(200, (8,))))
    arrive(world, "b")
    assert world.sent("b", MeasureProfile) == []
    assert len(finished(world, job).plans) == 1


def test_a_newcomer_that_dies_while_the_picture_is_handed_over_costs_nothing_but_its_help() -> None:
    world, job = alone()
    arrive(world, "b")
    assert world.sent("a", CancelEpoch)
    world.kill_daemon("b")
    report = finished(world, job)
    assert [(plan.begin_step, plan.agents) for plan in report.plans] == [(0, ("a",)), (10, ("a",))]
