"""Questions how pictures would be made: answered beside the queue, for an idle fleet, and then gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import CancelledError, InvalidArgumentError, NoAgentsError, PictureFailedError, UnreachableError
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import ImagePlanned
from polyrhythm.job.image import ImageRequest, Objective, Overrides
from polyrhythm.plan.explanation import ExclusionReason, Explanation
from polyrhythm.session.commands import MeasureProfile, StartEpoch, StopMeasuring
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask, explanation_of
from polyrhythm_coordinator.scheduling.state.events import Stopping
from tests.values.plans import exact_plan
from tests.worlds.fleet_world import World

KNOWN = ImageRequest(prompt="a red apple", seed=1)
BIG = ImageRequest(prompt="big", seed=1, width_px=128, height_px=128)
BIGGER = ImageRequest(prompt="bigger", seed=1, width_px=192, height_px=192)
PLANNED = ImageRequest(prompt="again", seed=1, plan=exact_plan(12, (4, 4)))
FOUR = ImageRequest(prompt="four", seed=1, count=4, objective=Objective.THROUGHPUT)
ENOUGH = CancelledError("enough")


def paused_world(*agents: str) -> World:
    """A picture is half made by all of them, of a size that is measured."""
    world = World(*agents)
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 4
    world.submit(KNOWN)
    world.settle()
    return world


def go_on(world: World) -> None:
    for daemon in world.daemons.values():
        daemon.worker.pause_at = None


def answer(world: World, job: JobId) -> Explanation:
    """Of a question that was told nothing else."""
    assert world.ended[job] is None
    (planned,) = world.told[job]
    assert isinstance(planned, ImagePlanned)
    return planned.explanation


def measured_sizes(world: World, agent: str) -> list[int]:
    return [command.workload.width_px for command in world.sent(agent, MeasureProfile)]


def test_a_question_leaves_the_agents_alone() -> None:
    world = World("a", "b")
    asked = world.submit(explain_only=True)
    world.run(asked)
    assert answer(world, asked).chosen.plan.agents == ("a", "b")
    assert world.sent("a", StartEpoch) == []
    assert (world.state.inquiries, world.state.jobs) == ({}, {})


def test_a_question_about_known_speeds_waits_for_nobody_and_has_no_place_in_the_queue() -> None:
    world = paused_world("a", "b")
    waiting = world.submit(KNOWN)
    world.settle()
    asked = world.submit(KNOWN, explain_only=True)
    assert asked not in world.state.queue
    world.settle()
    explanation = answer(world, asked)
    assert explanation.chosen.plan.agents == ("a", "b")
    assert all(not profile.in_company for profile in explanation.profiles)
    go_on(world)
    world.run(waiting)


def test_a_question_about_several_pictures_is_answered_for_an_idle_fleet() -> None:
    world = paused_world("a", "b")
    asked = world.submit(FOUR, explain_only=True)
    world.settle()
    explanation = answer(world, asked)
    assert explanation.chosen.plan.agents == ("a",)
    assert explanation.sharing.startswith("throughput is asked for, and 4 pictures wait: each by one device in")
    (left,) = explanation.exclusions
    assert (left.agent, left.reason) == ("b", ExclusionReason.OTHER_PICTURES)


def test_what_has_to_be_measured_waits_for_pictures_that_were_asked_for_before_and_for_no_others() -> None:
    world = paused_world("a")
    before = world.submit(KNOWN)
    asked = world.submit(BIG, explain_only=True)
    after = world.submit(BIGGER)
    world.settle()
    assert measured_sizes(world, "a") == [64]
    go_on(world)
    world.run(before, asked, after)
    assert answer(world, asked).chosen.plan.agents == ("a",)
    assert measured_sizes(world, "a") == [64, 128, 192]
    assert list(world.ended)[1:] == [before, asked, after]


def test_an_agent_that_works_and_whose_speed_is_unknown_is_waited_for() -> None:
    world = paused_world("a")
    world.connect("b")
    world.load("b")
    world.settle()
    asked = world.submit(BIG, explain_only=True)
    world.settle()
    assert (measured_sizes(world, "a"), measured_sizes(world, "b")[-1]) == ([64], 128)
    assert asked not in world.ended
    go_on(world)
    world.run(asked)
    assert answer(world, asked).chosen.plan.agents == ("a", "b")


def test_nobody_who_is_drained_is_waited_for() -> None:
    world = World("a", "b")
    asked = world.submit(replace(KNOWN, overrides=Overrides(devices=(AgentId("b"),))), explain_only=True)
    world.drain("b")
    world.run(asked)
    error = world.ended[asked]
    assert isinstance(error, NoAgentsError)
    assert "b: it is drained" in str(error)


def test_a_plan_that_was_given_is_predicted_whoever_is_busy() -> None:
    world = paused_world("agent-0", "agent-1")
    asked = world.submit(PLANNED, explain_only=True)
    world.settle()
    explanation = answer(world, asked)
    assert (explanation.chosen.plan, explanation.chosen.label) == (PLANNED.plan, "given plan")
    assert explanation.chosen.prediction.denoise_s > 0


def test_a_plan_whose_agent_goes_is_refused_once_it_is_not_expected_back() -> None:
    world = World("agent-0", "agent-1")
    for daemon in world.daemons.values():
        daemon.worker.measures_slowly = True
    asked = world.submit(PLANNED, explain_only=True)
    world.settle()
    world.kill_daemon("agent-1")
    world.settle()
    assert asked not in world.ended
    world.run(asked)
    assert isinstance(world.ended[asked], InvalidArgumentError)
    assert world.now_s == pytest.approx(world.state.limits.return_grace_s, abs=1.0)


class FitsOn:
    """A planner to whom a picture fits only where an agent takes part."""

    def __init__(self, agent: str) -> None:
        self.agent = AgentId(agent)
        self.asked: list[tuple[AgentId, ...]] = []

    def __call__(self, task: PlanTask) -> Explanation:
        self.asked.append(task.request.agents)
        if self.agent not in task.request.agents:
            raise NoAgentsError("it fits on none of them")
        return explanation_of(task)


def test_if_there_is_no_plan_with_those_who_are_there_it_waits_for_one_that_loads() -> None:
    planner = FitsOn("b")
    world = World("a", planner=planner)
    world.connect("b")
    asked = world.submit(explain_only=True)
    world.settle()
    world.tick()
    assert planner.asked == [("a",)]
    world.load("b")
    world.run(asked)
    assert answer(world, asked).chosen.plan.agents == ("a", "b")
    assert planner.asked == [("a",), ("a", "b")]


def test_it_does_not_wait_for_one_that_loads_for_ever() -> None:
    world = World("a", planner=FitsOn("b"))
    world.connect("b")
    asked = world.submit(explain_only=True)
    world.run(asked)
    assert str(world.ended[asked]) == "it fits on none of them"
    assert world.now_s == pytest.approx(world.state.limits.loading_grace_s, abs=1.0)


def slow_question() -> tuple[World, JobId]:
    """Both agents measure for it and for nobody else."""
    world = World("a", "b")
    for daemon in world.daemons.values():
        daemon.worker.measures_slowly = True
    asked = world.submit(BIG, explain_only=True)
    world.settle()
    assert [measured_sizes(world, agent) for agent in "ab"] == [[128], [128]]
    return world, asked


def test_a_question_that_nobody_asks_any_more_ends_its_measurements() -> None:
    world, asked = slow_question()
    world.cancel(asked, ENOUGH)
    assert world.ended == {asked: ENOUGH}
    assert [len(world.sent(agent, StopMeasuring)) for agent in "ab"] == [1, 1]


def test_the_end_of_the_coordinator_is_that_of_its_questions() -> None:
    world, asked = slow_question()
    world.feed(Stopping())
    assert isinstance(world.ended[asked], UnreachableError)
    assert world.state.inquiries == {}


def test_an_agent_that_cannot_measure_is_left_out_of_the_answer() -> None:
    world, asked = slow_question()
    world.daemons["b"].worker.fail_at = 0
    for daemon in world.daemons.values():
        daemon.worker.measures_slowly = False
    world.run(asked)
    explanation = answer(world, asked)
    assert explanation.chosen.plan.agents == ("a",)
    assert [(left.agent, left.reason) for left in explanation.exclusions] == [("b", ExclusionReason.NOT_READY)]
    assert "it could not measure" in explanation.exclusions[0].message


def test_a_question_that_ends_worker_after_worker_is_given_up() -> None:
    world, asked = slow_question()
    world.kill_worker("a")
    world.settle()
    assert asked not in world.ended
    world.kill_worker("b")
    world.settle()
    assert isinstance(world.ended[asked], PictureFailedError)


def test_an_agent_that_is_lost_over_a_question_is_asked_once_more() -> None:
    world, asked = slow_question()
    for _ in range(2):
        world.kill_daemon("b")
        world.connect("b").worker.measures_slowly = True
        world.load("b")
        world.settle()
    assert len(world.sent("b", MeasureProfile)) == 2
    world.daemons["a"].worker.measures_slowly = False
    world.run(asked)
    assert answer(world, asked).chosen.plan.agents == ("a",)
