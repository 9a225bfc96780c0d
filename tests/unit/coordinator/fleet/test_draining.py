"""Agents that are taken out of service and put back: between pictures, in mid-image, and the last one of all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import InvalidArgumentError, NoAgentsError
from polyrhythm.fleet import AgentState
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import ImageCompleted, ImagePlanned, ImageReplanned, JobDelayed, ReplanReason
from polyrhythm.job.image import ImageRequest, Overrides, Quality
from polyrhythm.job.reports import JobReport
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.gang_plan import spliced
from polyrhythm.session.commands import AbortEpoch, CancelEpoch, StartEpoch
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask, explanation_of
from tests.values.calibrations import calibration
from tests.values.plans import exact_plan
from tests.worlds.fleet_world import World

HIGH = ImageRequest(prompt="a red apple", seed=1, quality=Quality.HIGH, steps=40)


def at_step(step: int, *agents: str, request: ImageRequest = HIGH) -> tuple[World, JobId]:
    world = World(*agents)
    pause(world, step)
    job = world.submit(request)
    world.settle()
    return world, job


def pause(world: World, step: int | None) -> None:
    for daemon in world.daemons.values():
        daemon.worker.pause_at = step


def finished(world: World, job: JobId) -> JobReport:
    pause(world, None)
    world.run(job)
    assert world.ended[job] is None
    return world.told_of(job, ImageCompleted)[0].report


def decoder_and_other(world: World, job: JobId) -> tuple[AgentId, AgentId]:
    plan = world.told_of(job, ImagePlanned)[0].explanation.chosen.plan
    (other,) = set(plan.agents) - {plan.decoder}
    return plan.decoder, other


def states(world: World) -> dict[str, AgentState]:
    return {view.name: view.state for view in world.state.views()}


def test_a_drained_agent_takes_no_new_job_until_it_is_put_back() -> None:
    world = World("a", "b")
    world.drain("b")
    assert states(world) == {"a": AgentState.READY, "b": AgentState.DRAINED}
    job = world.submit()
    world.run(job)
    (planned,) = world.told_of(job, ImagePlanned)
    assert planned.explanation.chosen.plan.agents == ("a",)
    (exclusion,) = planned.explanation.exclusions
    assert (exclusion.agent, "drained" in exclusion.message) == ("b", True)
    world.drain("b", undo=True)
    assert states(world)["b"] is AgentState.READY
    job = world.submit()
    world.run(job)
    assert world.told_of(job, ImagePlanned)[0].explanation.chosen.plan.agents == ("a", "b")


def test_an_agent_that_is_drained_in_mid_image_holds_no_rows_from_the_next_possible_boundary_on() -> None:
    world, job = at_step(8, "a", "b")
    _, leaving = decoder_and_other(world, job)
    world.drain(leaving)
    world.settle()
    assert states(world)[leaving] is AgentState.DRAINING
    report = finished(world, job)
    (replanned,) = world.told_of(job, ImageReplanned)
    assert (replanned.reason, replanned.begin_step) == (ReplanReason.AGENT_DRAINED, 20)
    assert [plan.agents for plan in report.plans] == [("a", "b"), ("a", "b")]
    assert not any(segment.of(leaving).rows.count for segment in report.plans[1].segments)
    assert len(world.sent("a", StartEpoch)) == 1
    assert states(world)[leaving] is AgentState.DRAINED
    assert [daemon.worker.stalls for daemon in world.daemons.values()] == [0, 0]


def test_a_decoder_that_is_drained_leaves_the_gang_at_a_boundary() -> None:
    world, job = at_step(8, "a", "b", "c")
    plan = world.told_of(job, ImagePlanned)[0].explanation.chosen.plan
    world.drain(plan.decoder)
    report = finished(world, job)
    (replanned,) = world.told_of(job, ImageReplanned)
    assert replanned.reason is ReplanReason.AGENT_DRAINED
    assert replanned.begin_step >= 8
    assert plan.decoder not in replanned.plan.agents
    assert [p.begin_step for p in report.plans] == [0, replanned.begin_step]
    assert states(world)[plan.decoder] is AgentState.DRAINED
    assert world.sent("a", AbortEpoch) == []


def test_the_only_member_that_is_drained_ends_its_picture() -> None:
    world, job = at_step(8, "a")
    world.drain("a")
    assert states(world)["a"] is AgentState.DRAINING
    assert len(finished(world, job).plans) == 1
    assert world.sent("a", CancelEpoch) == []
    assert states(world)["a"] is AgentState.DRAINED


def test_a_picture_moves_from_the_last_member_to_an_agent_that_waits() -> None:
    world = World("a", "b", per_row_s={"b": 0.5})
    pause(world, 8)
    job = world.submit(HIGH)
    world.settle()
    assert world.told_of(job, ImagePlanned)[0].explanation.chosen.plan.agents == ("a",)
    world.drain("a")
    report = finished(world, job)
    # Only the drained agent holds the state: it stays in the gang, without rows, and hands it on.
    assert [plan.agents for plan in report.plans] == [("a",), ("a", "b")]
    assert not any(segment.of(AgentId("a")).rows.count for segment in report.plans[1].segments)
    assert report.plans[1].decoder == "b"
    assert world.sent("b", StartEpoch)[-1].root == "a"
    assert report.plans[1].begin_step >= 8


def test_new_jobs_are_refused_while_all_agents_are_drained() -> None:
    world = World("a", "b")
    world.drain("a")
    assert world.state.ready
    world.drain("b")
    assert not world.state.ready
    job = world.submit()
    world.settle()
    error = world.ended[job]
    assert isinstance(error, NoAgentsError)
    assert str(error) == "all connected agents are drained: a, b; `polyrhythm drain --undo` puts one back"


def test_accepted_jobs_wait_until_one_is_put_back() -> None:
    world, job = at_step(8, "a")
    following = world.submit(HIGH)
    world.settle()
    world.drain("a")
    finished(world, job)
    for _ in range(100):
        world.tick()
        world.settle()
    assert following not in world.ended
    world.drain("a", undo=True)
    finished(world, following)


def test_an_agent_that_is_drained_while_its_plan_is_made_does_not_start_it() -> None:
    world = World("a", "b")
    world.run(world.submit(replace(HIGH, quality=Quality.EXACT)))
    job = world.submit(HIGH)
    while not world.plans:
        for daemon in world.daemons.values():
            world.deliver_down(daemon)
            world.work(daemon)
            world.deliver_up(daemon)
    world.drain("b")
    finished(world, job)
    assert world.sent("b", StartEpoch)[-1].job != job


def test_a_member_that_is_put_back_gets_rows_again() -> None:
    world, job = at_step(8, "a", "b", request=replace(HIGH, steps=100))
    _, leaving = decoder_and_other(world, job)
    world.drain(leaving)
    world.settle()
    pause(world, 40)
    world.settle()
    world.drain(leaving, undo=True)
    world.settle()
    assert states(world)[leaving] is AgentState.WORKING
    report = finished(world, job)
    assert [event.reason for event in world.told_of(job, ImageReplanned)] == [
        ReplanReason.AGENT_DRAINED,
        ReplanReason.AGENT_JOINED,
    ]
    assert [bool(plan.segments[-1].of(leaving).rows.count) for plan in report.plans] == [True, False, True]
    assert len(world.sent("a", StartEpoch)) == 1


def test_a_plan_of_the_client_gives_way_to_a_drain() -> None:
    world, job = at_step(8, "agent-0", "agent-1", request=replace(HIGH, plan=exact_plan(40, (4, 4))))
    world.drain("agent-0")
    report = finished(world, job)
    assert [event.reason for event in world.told_of(job, ImageReplanned)] == [ReplanReason.AGENT_DRAINED]
    assert not any(segment.of(AgentId("agent-0")).rows.count for segment in report.plans[1].segments)


def test_a_plan_with_a_drained_agent_is_refused() -> None:
    world = World("agent-0", "agent-1")
    world.drain("agent-1")
    job = world.submit(replace(HIGH, plan=exact_plan(40, (4, 4))))
    world.settle()
    error = world.ended[job]
    assert isinstance(error, InvalidArgumentError)
    assert "agent-1: it is drained" in str(error)


def test_an_accepted_plan_waits_for_an_agent_that_is_drained_before_its_turn() -> None:
    world, running = at_step(8, "agent-0", "agent-1")
    job = world.submit(replace(HIGH, plan=exact_plan(40, (4, 4))))
    world.settle()
    world.drain("agent-1")
    finished(world, running)
    world.run_until(lambda: bool(world.told_of(job, JobDelayed)))
    world.drain("agent-1", undo=True)
    world.run(job)
    assert world.ended[job] is None


@pytest.mark.parametrize("connected", [True, False])
def test_an_agent_stays_drained_when_it_comes_back(connected: bool) -> None:
    world = World("a", "b")
    world.drain("b")
    world.kill_daemon("b")
    if not connected:
        world.drain("b", undo=True)
    world.connect("b")
    world.load("b")
    assert states(world)["b"] is (AgentState.DRAINED if connected else AgentState.READY)


def test_a_drained_member_without_rows_may_die() -> None:
    world, job = at_step(8, "a", "b")
    _, leaving = decoder_and_other(world, job)
    world.drain(leaving)
    world.settle()
    pause(world, 32)
    world.settle()
    world.kill_worker(leaving)
    report = finished(world, job)
    assert len(report.plans[-1].agents) == 1
    assert report.plans[-1].begin_step >= 28


@pytest.mark.parametrize("decodes", [False, True])
def test_a_drain_that_no_other_plan_can_answer_is_looked_at_once(*, decodes: bool) -> None:
    searches: list[PlanTask] = []

    def planner(task: PlanTask) -> Explanation:
        if task.request.begin_step:
            searches.append(task)
            raise NoAgentsError("the picture fits on no agents")
        return explanation_of(task)

    world = World("a", "b", planner=planner)
    pause(world, 8)
    job = world.submit(HIGH)
    world.settle()
    decoder, other = decoder_and_other(world, job)
    world.drain(decoder if decodes else other)
    assert len(finished(world, job).plans) == 1
    assert len(searches) == 1


def test_a_picture_stays_on_the_devices_that_were_asked_for() -> None:
    world = World("a", "b")
    world.run(world.submit(replace(HIGH, quality=Quality.EXACT)))  # both are measured
    pause(world, 8)
    job = world.submit(replace(HIGH, overrides=Overrides(devices=(AgentId("a"),))))
    world.settle()
    following = world.submit(replace(HIGH, overrides=Overrides(devices=(AgentId("a"),))))
    world.drain("a")
    assert [plan.agents for plan in finished(world, job).plans] == [("a",)]
    for _ in range(100):
        world.tick()
        world.settle()
    assert following not in world.ended  # accepted jobs outlast the drain of all that may take part
    world.drain("a", undo=True)
    assert [plan.agents for plan in finished(world, following).plans] == [("a",)]


def _calibrated(facts: ModelFacts) -> ModelFacts:
    measured = replace(
        calibration(steps=100, width=2),
        width_px=facts.default_width_px,
        height_px=facts.default_height_px,
        guidance=facts.default_guidance,
    )
    return replace(facts, calibrations=(measured,))


@pytest.mark.parametrize("step", [4, 40, 60, 70])
def test_whoever_is_left_may_go_on_with_merged_steps(step: int) -> None:
    world = World()
    for agent in ("a", "b"):
        daemon = world.connect(agent)
        daemon.worker.facts = tuple(map(_calibrated, daemon.worker.facts))
        world.load(agent)
    pause(world, step)
    job = world.submit(replace(HIGH, quality=Quality.FAST, steps=100))
    world.settle()
    _, leaving = decoder_and_other(world, job)
    world.drain(leaving)
    report = finished(world, job)
    alone = report.plans[-1].segments
    assert not any(segment.of(leaving).rows.count for segment in alone)
    assert any(min(a.stride for a in segment.assignments if a.rows.count) > 1 for segment in alone)
    assert spliced(report.plans).steps == 100


def only(agent: str, **values: int) -> ImageRequest:
    return replace(HIGH, overrides=Overrides(devices=(AgentId(agent),)), **values)


def wait(world: World, seconds: float) -> None:
    end_s = world.now_s + seconds
    while world.now_s < end_s:
        world.settle()
        world.tick()


def waiting_for_a_drained_agent(*, count: int = 1) -> tuple[World, JobId]:
    """A picture of a size that nobody has measured waits for ``a``, which is drained; ``b`` is idle."""
    world, running = at_step(8, "a", "b", request=only("a"))
    job = world.submit(only("a", width_px=128, height_px=128, count=count))
    world.settle()
    world.drain("a")
    finished(world, running)
    world.run_until(lambda: bool(world.told_of(job, JobDelayed)))
    return world, job


def test_a_job_for_drained_agents_holds_up_nobody_else() -> None:
    world, job = waiting_for_a_drained_agent(count=3)
    world.run(other := world.submit())
    assert world.ended[other] is None
    assert job not in world.ended
    assert len(world.told_of(job, JobDelayed)) == 1
    world.drain("a", undo=True)
    world.run(job)
    assert world.ended[job] is None
    assert len(world.told_of(job, ImageCompleted)) == 3


def test_all_jobs_for_drained_agents_are_told_so() -> None:
    world, _ = waiting_for_a_drained_agent()
    others = [world.submit(only("a")) for _ in range(2)]
    world.settle()
    assert all(world.told_of(other, JobDelayed) for other in others)


def test_an_agent_that_is_put_back_late_is_still_asked_to_measure() -> None:
    world, job = waiting_for_a_drained_agent()
    wait(world, 2 * world.state.limits.profile_timeout_s)
    world.drain("a", undo=True)
    world.run(job)
    assert world.ended[job] is None


def test_an_agent_that_is_put_back_late_may_still_load() -> None:
    world, job = waiting_for_a_drained_agent()
    wait(world, 2 * world.state.limits.loading_grace_s)
    world.kill_worker("a")
    world.drain("a", undo=True)
    wait(world, world.state.limits.loading_grace_s / 2)
    world.load("a")
    world.run(job)
    assert world.ended[job] is None
