"""A picture of several beats whose members pause at a boundary: what losses and failures in mid-image begin with."""

from __future__ import annotations

from polyrhythm.ids import JobId
from polyrhythm.job.events import ImageCompleted
from polyrhythm.job.image import ImageRequest, Quality
from tests.worlds.fleet_world import World

HIGH = ImageRequest(prompt="a red apple", seed=1, quality=Quality.HIGH, steps=40)
"""Several beats, so that there are boundaries to go on from."""


def at_step(step: int, *agents: str) -> tuple[World, JobId]:
    """A picture whose members all pause at a boundary at or after a step."""
    world = World(*agents)
    for daemon in world.daemons.values():
        daemon.worker.pause_at = step
    job = world.submit(HIGH)
    world.settle()
    return world, job


def go_on(world: World) -> None:
    for daemon in world.daemons.values():
        daemon.worker.pause_at = None


def report_of(world: World, job: JobId) -> ImageCompleted:
    assert world.ended[job] is None
    (completed,) = world.told_of(job, ImageCompleted)
    return completed
