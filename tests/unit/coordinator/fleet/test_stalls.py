"""The coordinator was stopped for a while and goes on: nobody could be heard in that time, so it counts for nothing.

After a pause, what others have said in the meantime may be taken in before the first tick.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from polyrhythm.errors import AlreadyInUseError, NoAgentsError
from polyrhythm.ids import AgentId
from polyrhythm.job.events import ImageCompleted, ImagePlanned
from polyrhythm.job.image import ImageRequest
from polyrhythm.session.commands import CountTokens, MeasureProfile
from polyrhythm.session.events import Heartbeat
from polyrhythm_coordinator.scheduling.state.effects import DisconnectAgent
from polyrhythm_coordinator.scheduling.state.events import AgentConnected, SessionId, Tick
from tests.fakes.worker import register
from tests.worlds.fleet_world import World

A = AgentId("a")


def tick(world: World) -> None:
    world.feed(Tick())


def heartbeat(world: World) -> None:
    world.say("a", Heartbeat(sequence=1))


def another_request(world: World) -> None:
    world.submit(ImageRequest(prompt="a green apple", seed=2))


after_a_pause = pytest.mark.parametrize("first", [tick, heartbeat, another_request])


def pause(world: World, seconds: float, first: Callable[[World], None]) -> None:
    world.now_s += seconds
    first(world)
    world.feed(Tick())


@after_a_pause
def test_a_question_is_open_as_long_as_if_there_had_been_no_pause(first: Callable[[World], None]) -> None:
    world = World("a")
    world.tick()
    job = world.submit()
    pause(world, 6.0, first)
    assert job not in world.ended
    assert len([command for command in world.sent("a", CountTokens) if command.texts[0] == "a red apple"]) == 1
    world.run(job)
    assert world.ended[job] is None


def test_a_question_is_not_open_for_ever() -> None:
    world = World("a")
    world.daemons["a"].worker.mute = True
    world.tick()
    job = world.submit()
    pause(world, 60.0, tick)
    world.run_until(lambda: job in world.ended, limit_s=5.5)
    assert isinstance(world.ended[job], NoAgentsError)


@after_a_pause
def test_loading_agents_are_waited_for_as_long(first: Callable[[World], None]) -> None:
    world = World()
    world.connect("a")
    world.tick()
    job = world.submit()
    pause(world, 31.0, first)
    assert job not in world.ended
    world.load("a")
    world.run(job)
    assert world.ended[job] is None


@after_a_pause
def test_measurements_are_waited_for_as_long(first: Callable[[World], None]) -> None:
    world = World("a")
    world.tick()
    job = world.submit()
    while not world.sent("a", MeasureProfile):
        world.deliver_down(world.daemons["a"])
        world.deliver_up(world.daemons["a"])
    pause(world, 121.0, first)
    assert job not in world.ended
    world.run(job)
    (planned,) = world.told_of(job, ImagePlanned)
    assert planned.explanation.chosen.plan.agents == ("a",)


def test_a_name_is_not_taken_over_from_an_agent_that_could_not_be_heard() -> None:
    world = World("a")
    world.tick()
    world.now_s += 20.0
    effects = world.feed(AgentConnected(session=SessionId(99), register=register(A)))
    (refused,) = [effect for effect in effects if isinstance(effect, DisconnectAgent)]
    assert (refused.session, type(refused.error)) == (SessionId(99), AlreadyInUseError)


def test_one_pause_counts_once() -> None:
    world = World("a")
    world.tick()
    world.daemons["a"].silent = True
    world.now_s += 20.0
    world.submit()
    for _ in range(11):
        world.tick()
    assert set(world.state.agents) == set()


def test_what_is_measured_and_told_goes_by_the_clock_all_the_same() -> None:
    world = World("a")
    world.tick()
    world.run(world.submit())
    world.daemons["a"].worker.pause_at = 4
    first, second = world.submit(), world.submit()
    world.settle()
    pause(world, 20.0, tick)
    world.daemons["a"].worker.pause_at = None
    world.run(first, second)
    (running,), (waiting,) = (world.told_of(job, ImageCompleted) for job in (first, second))
    assert running.report.denoise_s >= 20.0
    assert waiting.report.queued_s >= 20.0
    assert waiting.report.denoise_s < 10.0
