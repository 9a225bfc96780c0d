"""How an epoch is started and fed with segments, and what its reports bring about."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import WireError
from polyrhythm.ids import AgentId, EpochId, JobId
from polyrhythm.job.events import (
    ImageChunk,
    ImageCompleted,
    ImagePreviewed,
    ImageProgressed,
    ModelPartLoaded,
    ProfilingProgressed,
)
from polyrhythm.job.image import ImageRequest, Quality
from polyrhythm.job.picture_file import PART_BYTES, SIGNATURE, parts_max
from polyrhythm.job.reports import BeatReport, RowsHeld
from polyrhythm.model.facts import ModelPart
from polyrhythm.plan.plan import Exchange, RowRange
from polyrhythm.session.commands import ExtendPlan, StartEpoch
from polyrhythm.session.events import BeatDone, ImageMade, PartLoaded, PreviewMade, StepDone
from polyrhythm_coordinator.scheduling.epochs.plan_delivery import beats_ahead, segments_due
from polyrhythm_coordinator.scheduling.planning.forecast import Forecast
from polyrhythm_coordinator.scheduling.state.effects import DisconnectAgent
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from tests.fakes.model import png_of
from tests.values.plans import exact_plan, plan, segment
from tests.worlds.fleet_world import World

BALANCED = ImageRequest(prompt="a red apple", seed=1, steps=40)
PREVIEWED = replace(BALANCED, preview_every_steps=4)
DISPLACED = Exchange.DISPLACED
LONG = plan(
    segment(0, 4, (4, 4), beat_steps=1),
    segment(4, 20, (4, 4), exchange=DISPLACED, strides=(1, 2), beat_steps=4),
    segment(20, 36, (5, 3), exchange=DISPLACED, strides=(1, 2), beat_steps=8),
    segment(36, 40, (4, 4), exchange=DISPLACED, beat_steps=1),
)


@pytest.mark.parametrize(
    ("boundary", "segments"),
    [(0, 2), (1, 2), (3, 2), (4, 3), (8, 3), (12, 3), (16, 3), (20, 4), (28, 4), (36, 4), (40, 4)],
)
def test_the_next_segment_is_always_known(boundary: int, segments: int) -> None:
    assert segments_due(LONG, boundary, 2) == segments


@pytest.mark.parametrize(("ahead", "segments"), [(2, [3, 4, 5, 6, 6, 6, 6]), (4, [5, 6, 6, 6, 6, 6, 6])])
def test_short_segments_are_sent_beats_ahead(ahead: int, segments: list[int]) -> None:
    short = plan(*(segment(step, step + 1, (4, 4), beat_steps=1) for step in range(6)))
    assert [segments_due(short, boundary, ahead) for boundary in range(7)] == segments


def test_reports_that_waited_for_a_heartbeat_are_allowed_for() -> None:
    course = Forecast(
        loading_s=0.0,
        encode_s=0.0,
        denoise_s=0.5,
        decode_s=0.0,
        step_s=0.1,
        beat_s=0.4,
        alone=False,
        course=((0, 0.0), (1, 0.1), (2, 0.5)),
    )
    limits = Limits(heartbeat_interval_s=0.25)
    assert [beats_ahead(limits, course, boundary) for boundary in (0, 1, 2)] == [2 + 1, 2 + 0, 2 + 0]


def test_segments_follow_as_boundaries_are_reported() -> None:
    world = World("agent-0", "agent-1")
    job = world.submit(ImageRequest(prompt="long", seed=1, plan=LONG))
    world.run(job)
    (start,) = world.sent("agent-0", StartEpoch)
    extensions = world.sent("agent-0", ExtendPlan)
    assert (start.segments, start.complete) == (LONG.segments[:2], False)
    assert [extension.segments for extension in extensions] == [LONG.segments[2:3], LONG.segments[3:]]
    assert [extension.complete for extension in extensions] == [False, True]
    assert {extension.memory_need_bytes for extension in extensions} == {start.memory_need_bytes}
    assert start.memory_need_bytes > 0
    assert [daemon.worker.stalls for daemon in world.daemons.values()] == [0, 0]


def test_a_picture_that_waits_for_a_part_to_load_says_so() -> None:
    world = World("a")
    world.daemons["a"].worker.pause_at = 4
    job = world.submit(BALANCED)
    world.settle()
    (start,) = world.sent("a", StartEpoch)
    world.say("a", PartLoaded(epoch=start.epoch, part=ModelPart.TEXT_ENCODER, loading_s=2.5))
    (told,) = world.told_of(job, ModelPartLoaded)
    assert (told.image_index, told.agent, told.part, told.loading_s) == (0, "a", ModelPart.TEXT_ENCODER, 2.5)


def test_the_start_says_everything() -> None:
    world = World("a", "b")
    job = world.submit(replace(BALANCED, quality=Quality.EXACT))
    world.run(job)
    (to_a,), (to_b,) = world.sent("a", StartEpoch), world.sent("b", StartEpoch)
    assert to_a == to_b
    assert (to_a.job, to_a.begin_step, to_a.plan_version, to_a.members) == (job, 0, 1, ("a", "b"))
    assert to_a.complete
    # Four rows of 10 ms each, then the slack of four and the constant.
    assert 3.16 <= to_a.step_timeout_s <= 3.2


def test_profiles_are_measured_once_for_a_size_and_at_the_same_time() -> None:
    world = World("a", "b")
    first, second = world.submit(), world.submit()
    world.run(first, second)
    assert [event.agents for event in world.told_of(first, ProfilingProgressed)] == [("a", "b")]
    assert world.told_of(second, ProfilingProgressed) == []


def test_progress_is_of_the_slowest_member_and_not_told_too_often() -> None:
    world = World("a", "b")
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 12
    job = world.submit(BALANCED)
    world.settle()
    world.tick()
    for daemon in world.daemons.values():
        daemon.worker.pause_at = None
    world.run(job)
    steps = [event.step for event in world.told_of(job, ImageProgressed)]
    assert steps[0] == 0
    assert steps[-1] == 40
    assert steps == sorted(set(steps))
    assert len(steps) <= 5  # no time passes between most steps of this fake
    left = [event.left_s for event in world.told_of(job, ImageProgressed)]
    assert left == sorted(left, reverse=True)


def test_usage_and_times_are_summed_up() -> None:
    world = World("a", "b")
    job = world.submit(replace(BALANCED, quality=Quality.EXACT))
    world.run(job)
    (completed,) = world.told_of(job, ImageCompleted)
    report = completed.report
    assert [usage.steps for usage in report.agents] == [40, 40]
    assert report.agents[0].busy_s == pytest.approx(40 * 4 * 0.01)
    assert report.agents[0].rows == (RowsHeld(begin_step=0, end_step=40, rows=RowRange(begin=0, end=4), stride=1),)
    assert report.encode_s == 0.01
    assert report.decode_s == 0.02
    assert report.predicted_denoise_s == pytest.approx(1.6, rel=0.025)


def test_previews_are_passed_on() -> None:
    world, job = running(request=PREVIEWED)
    epoch = world.sent("a", StartEpoch)[0].epoch
    world.say("a", PreviewMade(epoch=epoch, step=4, png=SIGNATURE))
    assert world.told_of(job, ImagePreviewed) == [ImagePreviewed(image_index=0, step=4, png=SIGNATURE)]


@pytest.mark.parametrize(
    ("request_", "agent", "step", "png"),
    [
        (BALANCED, "a", 4, SIGNATURE),
        (PREVIEWED, "b", 4, SIGNATURE),
        (PREVIEWED, "a", 0, SIGNATURE),
        (PREVIEWED, "a", 40, SIGNATURE),
        (PREVIEWED, "a", 4, b"GIF89a"),
    ],
    ids=["nobody asked", "no decoder", "before the first step", "after the last one", "no PNG"],
)
def test_a_preview_that_cannot_be_ends_its_sender(request_: ImageRequest, agent: str, step: int, png: bytes) -> None:
    world, job = running(request=request_)
    start = world.sent("a", StartEpoch)[0]
    assert start.decoder == "a"
    world.say(agent, PreviewMade(epoch=start.epoch, step=step, png=png))
    assert agent not in world.state.agents
    assert world.told_of(job, ImagePreviewed) == []


def test_a_measured_speed_that_leaves_the_profile_changes_later_plans() -> None:
    world, job = running()
    start = world.sent("a", StartEpoch)[0]
    (key,) = [key for key in world.state.profiles if key.device_uuid == "FAKE-a"]
    rows = start.segments[0].of(AgentId("a")).rows.count
    for beat in start.segments[0].beats():
        world.say("a", BeatDone(report=beat_report(start.epoch, beat.end_step, busy_s=rows * 0.03)))
    assert world.state.profiles[key].alone.scale > 1.05
    assert job not in world.ended


def test_a_report_of_a_step_that_is_no_boundary_costs_the_agent_its_stream() -> None:
    world, _ = running("agent-0", "agent-1", request=replace(BALANCED, plan=exact_plan(40, (4, 4), beat_steps=4)))
    epoch = world.sent("agent-0", StartEpoch)[0].epoch
    effects = world.say("agent-0", BeatDone(report=beat_report(epoch, boundary=21)))
    (error,) = (effect.error for effect in effects if isinstance(effect, DisconnectAgent))
    assert str(error) == "beat_done.boundary_step: 21 is no boundary of the plan"


@pytest.mark.parametrize(
    ("parts", "wrong"),
    [
        ((b"no picture at all" * 4,), "does not begin with the PNG signature"),
        ((png_of(8, 8),), "is no PNG of 64x64 pixels"),
        ((png_of()[:-1],), "is not whole"),
        ((SIGNATURE, b""), "2 parts are no file of 64x64 pixels"),
        ((bytes(200_000),), "1 parts are no file of 64x64 pixels"),
    ],
)
def test_a_file_that_is_no_picture_costs_the_agent_its_stream(parts: tuple[bytes, ...], wrong: str) -> None:
    world, job = running("a")
    epoch, offset, errors = world.sent("a", StartEpoch)[0].epoch, 0, list[str]()
    for data in parts:
        made = ImageMade(epoch=epoch, offset=offset, data=data, last=data is parts[-1], decode_s=0.0)
        errors += [str(effect.error) for effect in world.say("a", made) if isinstance(effect, DisconnectAgent)]
        offset += len(data)
    assert [wrong in error for error in errors] == [True]
    assert world.told_of(job, ImageChunk) == []


def say_file(world: World, content: bytes, part_bytes: int) -> list[str]:
    """An agent sends its picture's file in parts of a size; why it was cut off, if it was."""
    epoch, errors = world.sent("a", StartEpoch)[0].epoch, list[str]()
    for offset in range(0, len(content), part_bytes):
        data = content[offset : offset + part_bytes]
        made = ImageMade(epoch=epoch, offset=offset, data=data, last=offset + len(data) == len(content), decode_s=0.0)
        errors += [str(effect.error) for effect in world.say("a", made) if isinstance(effect, DisconnectAgent)]
    return errors


def test_a_file_that_comes_byte_by_byte_costs_the_agent_its_stream() -> None:
    """Each part is looked at on the event loop, and waits for the client as an item of its own."""
    world, job = running("a")
    most = parts_max(64, 64)
    assert say_file(world, png_of(), 1) == [
        f"image_made.data: a file of 64x64 pixels has at most {most} parts, of {PART_BYTES} bytes"
    ]
    assert world.told_of(job, ImageChunk) == []


def test_a_file_in_as_many_parts_as_it_may_have_is_told_part_by_part() -> None:
    world, job = running("a")
    content = png_of(padding_bytes=1000)
    part_bytes = -(-len(content) // parts_max(64, 64))
    assert say_file(world, content, part_bytes) == []
    chunks = world.told_of(job, ImageChunk)
    assert len(chunks) == parts_max(64, 64)
    assert b"".join(chunk.data for chunk in chunks) == content
    assert [chunk.offset for chunk in chunks] == list(range(0, len(content), part_bytes))


def test_a_beat_that_is_reported_again_costs_the_agent_its_stream() -> None:
    """Else sums of what a picture took would grow for ever."""
    world, job = running("agent-0", "agent-1", request=replace(BALANCED, plan=exact_plan(40, (4, 4), beat_steps=4)))
    report = BeatDone(report=replace(beat_report(world.sent("agent-0", StartEpoch)[0].epoch, boundary=4), sent_bytes=1))
    world.say("agent-0", report)
    (error,) = (effect.error for effect in world.say("agent-0", report) if isinstance(effect, DisconnectAgent))
    assert str(error) == "beat_done.boundary_step: 4 comes after 4"
    assert world.state.jobs[job].pictures[0].usage[AgentId("agent-0")].sent_bytes == 1


@pytest.mark.parametrize(
    "lie",
    [
        lambda epoch: StepDone(epoch=epoch, step=41),
        lambda epoch: ImageMade(epoch=epoch, offset=5, data=b"x", last=False, decode_s=0.0),
        lambda epoch: BeatDone(report=replace(beat_report(epoch, boundary=4), active_steps=5)),
        lambda epoch: BeatDone(report=replace(beat_report(epoch, boundary=4), active_steps=0, step_s=(1.0,))),
    ],
)
def test_what_cannot_be_true_costs_the_agent_its_stream(lie: object) -> None:
    world, _ = running()
    epoch = world.sent("a", StartEpoch)[0].epoch
    effects = world.say("a", lie(epoch))  # type: ignore[operator]
    errors = [effect.error for effect in effects if isinstance(effect, DisconnectAgent)]
    assert [type(error) for error in errors] == [WireError]


def test_late_reports_of_an_ended_epoch_are_ignored() -> None:
    world = World("a")
    job = world.submit()
    world.run(job)
    epoch = world.sent("a", StartEpoch)[0].epoch
    assert world.say("a", StepDone(epoch=epoch, step=3)) == ()


def test_a_given_plan_is_sent_as_it_is() -> None:
    world = World("agent-0")
    given = exact_plan(12, (8,))
    job = world.submit(ImageRequest(prompt="solo", seed=1, plan=given))
    world.run(job)
    assert world.sent("agent-0", StartEpoch)[0].segments == given.segments


def beat_report(epoch: EpochId, boundary: int, busy_s: float = 0.1) -> BeatReport:
    return BeatReport(
        epoch=epoch,
        boundary_step=boundary,
        plan_version=1,
        active_steps=1,
        busy_s=busy_s,
        wait_s=0.0,
        sent_bytes=0,
        wall_s=busy_s,
        last=False,
    )


def running(*agents: str, request: ImageRequest = BALANCED) -> tuple[World, JobId]:
    """A picture that stands still after its gang has formed."""
    world = World(*(agents or ("a", "b")))
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 0
    job = world.submit(request)
    world.settle()
    return world, job
