"""Bytes of pictures stay at the edge: what is kept there, for whom, and until when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import CancelledError
from polyrhythm.ids import EpochId, JobId
from polyrhythm.job.events import ImageChunk, ImagePreviewed
from polyrhythm.job.image import ImageRequest
from polyrhythm.job.picture_file import SIGNATURE
from polyrhythm.session.commands import StartEpoch
from polyrhythm.session.events import ImageMade, PreviewMade
from polyrhythm_coordinator.scheduling.state.effects import Effect, KeepBytes
from tests.fakes.model import png_of
from tests.worlds.fleet_world import World

REQUEST = ImageRequest(prompt="a red apple", seed=1, steps=40)
FILE = png_of()
HALF = len(FILE) // 2


def running(*agents: str, request: ImageRequest = REQUEST) -> tuple[World, JobId, EpochId]:
    """A picture in its middle."""
    world = World(*agents)
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 4
    job = world.submit(request)
    world.settle()
    return world, job, world.sent(agents[0], StartEpoch)[0].epoch


def part(epoch: EpochId, begin: int, end: int) -> ImageMade:
    """A part of the picture's file."""
    return ImageMade(epoch=epoch, offset=begin, data=FILE[begin:end], last=end == len(FILE), decode_s=0.0)


def keeps(effects: tuple[Effect, ...]) -> bool:
    return any(isinstance(effect, KeepBytes) for effect in effects)


def test_parts_are_kept_until_the_picture_is_told_and_then_no_more() -> None:
    world, job, epoch = running("a")
    assert keeps(world.say("a", part(epoch, 0, HALF)))
    assert (world.blobs.kept_bytes, world.told_of(job, ImageChunk)) == (HALF, [])
    assert keeps(world.say("a", part(epoch, HALF, len(FILE))))
    assert b"".join(chunk.data for chunk in world.told_of(job, ImageChunk)) == FILE
    assert world.blobs.kept_bytes == 0


def test_no_bytes_are_in_the_state() -> None:
    world, _, epoch = running("a")
    world.say("a", part(epoch, 0, HALF))
    assert repr(FILE[:8])[2:-1] not in repr(world.state)


@pytest.mark.parametrize(
    ("agent", "lie"),
    [
        ("b", lambda epoch: part(epoch, 0, HALF)),
        ("a", lambda epoch: part(epoch, HALF, len(FILE))),
        ("a", lambda epoch: part(replace(epoch, counter=epoch.counter + 100), 0, HALF)),
        ("c", lambda epoch: part(epoch, 0, HALF)),
        ("a", lambda epoch: PreviewMade(epoch=epoch, step=4, png=SIGNATURE)),
    ],
    ids=["no decoder", "another offset", "another epoch", "no member", "a preview that nobody asked for"],
)
def test_what_is_not_for_its_picture_is_never_kept(agent: str, lie: object) -> None:
    world, job, epoch = running("a", "b")
    assert world.sent("a", StartEpoch)[0].decoder == "a"
    world.connect("c")
    world.load("c")
    assert not keeps(world.say(agent, lie(epoch)))  # type: ignore[operator]
    assert world.blobs.kept_bytes == 0
    assert world.told_of(job, ImageChunk) == []


def test_what_a_lost_decoder_has_sent_is_dropped_and_the_next_one_begins_anew() -> None:
    world, job, epoch = running("a", "b")
    world.say("a", part(epoch, 0, HALF))
    assert world.blobs.kept_bytes == HALF
    world.kill_daemon("a")
    for daemon in world.daemons.values():
        daemon.worker.pause_at = None
    world.run(job)
    assert world.ended[job] is None
    assert b"".join(chunk.data for chunk in world.told_of(job, ImageChunk)) == FILE
    assert world.blobs.kept_bytes == 0


def test_what_comes_for_a_cancelled_picture_is_not_kept_and_what_came_is_dropped() -> None:
    world, job, epoch = running("a")
    world.say("a", part(epoch, 0, HALF))
    world.cancel(job, CancelledError("enough"))
    assert not keeps(world.say("a", part(epoch, HALF, len(FILE))))
    for daemon in world.daemons.values():
        daemon.worker.pause_at = None
    world.run_until(lambda: not world.state.epochs)
    assert world.blobs.kept_bytes == 0
    assert set(world.state.agents) == {"a"}


def test_two_previews_of_one_step_are_two() -> None:
    world, job, epoch = running("a", request=replace(REQUEST, preview_every_steps=4))
    for png in (SIGNATURE + b"1", SIGNATURE + b"2"):
        world.say("a", PreviewMade(epoch=epoch, step=4, png=png))
    assert [event.png for event in world.told_of(job, ImagePreviewed)] == [SIGNATURE + b"1", SIGNATURE + b"2"]
    assert world.blobs.kept_bytes == 0
