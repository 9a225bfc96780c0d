"""Devices of one host that make pictures of their own: what they are planned to take, and what their reports say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import ImageCompleted, ImagePlanned
from polyrhythm.job.image import ImageRequest, Objective, Overrides, Quality
from polyrhythm_coordinator.scheduling.planning.measured_profiles import MeasuredProfile
from tests.worlds.fleet_world import World

A, B = AgentId("a"), AgentId("b")
CONTENTION = 1.5
ALONE_S = 12 * 8 * 0.01
"""Steps of a whole picture on a device whose neighbour rests."""
REQUEST = ImageRequest(prompt="many", seed=1, quality=Quality.EXACT)
MANY = replace(REQUEST, count=2, objective=Objective.THROUGHPUT)


def on(name: AgentId, **kwargs: int) -> ImageRequest:
    return replace(REQUEST, overrides=Overrides(devices=(name,)), **kwargs)


def measured_world(contention: float = CONTENTION) -> World:
    """Two devices of one host that have measured the size, alone and together."""
    world = World("a", "b", host="the same machine")
    for daemon in world.daemons.values():
        daemon.worker.contention = contention
    world.run(world.submit(REQUEST, explain_only=True))
    return world


def slow_down(world: World, ratio: float, *agents: AgentId) -> None:
    for agent in agents:
        world.daemons[agent].worker.slowdown = ratio


def pause(world: World, step: int | None) -> None:
    for daemon in world.daemons.values():
        daemon.worker.pause_at = step


def known_of(world: World, agent: AgentId) -> MeasuredProfile:
    (known,) = (known for key, known in world.state.profiles.items() if key.device_uuid == f"FAKE-{agent}")
    return known


def scales(world: World, agent: AgentId) -> tuple[float, float]:
    """How far the two lines have moved from what was measured, alone and together."""
    known = known_of(world, agent)
    assert known.together is not None
    return known.alone.scale, known.together.scale


def denoise_s(world: World, job: JobId) -> list[float]:
    return [told.explanation.chosen.prediction.denoise_s for told in world.told_of(job, ImagePlanned)]


def test_pictures_that_devices_of_one_host_make_at_once_are_planned_and_told_at_the_speed_beside_each_other() -> None:
    world = measured_world()
    slow_down(world, CONTENTION, A, B)
    world.run(job := world.submit(MANY))
    assert denoise_s(world, job) == [pytest.approx(CONTENTION * ALONE_S)] * 2
    sharing = world.told_of(job, ImagePlanned)[0].explanation.sharing
    assert f"each by one device in {CONTENTION * ALONE_S + 0.03:.3f} s as predicted" in sharing


def test_what_they_take_beside_each_other_says_nothing_of_either_alone() -> None:
    world = measured_world()
    slow_down(world, 1.2 * CONTENTION, A, B)
    world.run(world.submit(replace(MANY, steps=40)))
    for agent in (A, B):
        alone, together = scales(world, agent)
        assert (alone, together) == (1.0, pytest.approx(1.2, abs=0.1))


def test_the_lot_is_left_to_one_device_where_its_neighbour_would_cost_more_than_it_makes() -> None:
    world = measured_world(contention=3.0)
    world.run(job := world.submit(MANY))
    assert {told.report.plans[0].agents for told in world.told_of(job, ImageCompleted)} in ({(A,)}, {(B,)})
    assert denoise_s(world, job) == [pytest.approx(ALONE_S)] * 2


def test_a_device_is_planned_beside_a_neighbour_that_works_for_somebody_else() -> None:
    world = measured_world()
    pause(world, 4)
    first = world.submit(on(A))
    world.settle()
    second = world.submit(on(B))
    world.settle()
    assert denoise_s(world, first) == [pytest.approx(ALONE_S)]
    assert denoise_s(world, second) == [pytest.approx(CONTENTION * ALONE_S)]
    pause(world, None)
    world.run(first, second)
    world.run(third := world.submit(on(B)))
    assert denoise_s(world, third) == [pytest.approx(ALONE_S)]


def test_a_neighbour_that_begins_in_mid_image_moves_the_speed_beside_it_and_not_the_speed_alone() -> None:
    world = measured_world()
    pause(world, 4)
    first = world.submit(on(A, steps=60))
    world.settle()
    second = world.submit(on(B, steps=60))
    slow_down(world, 1.5 * CONTENTION, A)
    world.settle()
    world.daemons[A].worker.pause_at = 40
    world.settle()
    assert scales(world, A) == (1.0, pytest.approx(1.5, abs=0.05))
    pause(world, None)
    world.run(first, second)


def test_a_device_that_has_become_slower_by_itself_is_so_alone_and_beside_others() -> None:
    world = measured_world()
    pause(world, 4)
    job = world.submit(on(A, steps=60))
    world.settle()
    slow_down(world, 2.0, A)
    world.daemons[A].worker.pause_at = 40
    world.settle()
    assert scales(world, A) == (pytest.approx(2.0, abs=0.05), pytest.approx(2.0, abs=0.05))
    pause(world, None)
    world.run(job)


def test_a_beat_during_which_a_neighbour_began_or_ended_says_nothing() -> None:
    world = measured_world()
    pause(world, 4)
    first = world.submit(on(A, steps=60))
    world.settle()
    second = world.submit(on(B, steps=60))
    world.settle()
    before = known_of(world, A)
    slow_down(world, 1.2, A)
    (epoch,) = (epoch for epoch in world.state.epochs.values() if epoch.job == first)
    world.daemons[A].worker.pause_at = next(b.end_step for b in epoch.plan.beats() if b.begin_step >= 4)
    world.settle()
    assert known_of(world, A) == before
    pause(world, None)
    world.run(first, second)
