"""Several pictures at once: who makes which, what happens when agents come and go, and what clients are told."""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.errors import CancelledError, InternalError
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import (
    AgentFailed,
    ImageCompleted,
    ImagePlanned,
    ImageReplanned,
    JobDelayed,
    JobQueued,
    ReplanReason,
)
from polyrhythm.job.image import ImageRequest, Objective, Overrides, Quality
from polyrhythm.plan.explanation import ExclusionReason
from polyrhythm.session.commands import CancelEpoch, ForgetJob
from tests.values.plans import exact_plan
from tests.worlds.fleet_world import World

ENOUGH = CancelledError("enough")
MANY = ImageRequest(prompt="many", seed=1, count=4, quality=Quality.EXACT, objective=Objective.THROUGHPUT)
ONE = replace(MANY, count=1)


def paused_world(*agents: str, at: int = 4, per_row_s: dict[str, float] | None = None) -> World:
    """All workers stop at a step until the pause is lifted."""
    world = World(*agents, per_row_s=per_row_s)
    for daemon in world.daemons.values():
        daemon.worker.pause_at = at
    return world


def go_on(world: World) -> None:
    for daemon in world.daemons.values():
        daemon.worker.pause_at = None


def makers(world: World, job: JobId) -> dict[int, tuple[AgentId, ...]]:
    """Agents that made each picture, by its index; what was lost on the way does not count."""
    reports = [done.report for done in world.told_of(job, ImageCompleted)]
    return {r.image_index: tuple(sorted({agent for plan in r.plans for agent in plan.agents})) for r in reports}


def at_work(world: World) -> dict[tuple[JobId, int], tuple[AgentId, ...]]:
    return {(epoch.job, epoch.image_index): tuple(epoch.members) for epoch in world.state.epochs.values()}


def test_pictures_are_shared_out_by_speed() -> None:
    world = paused_world("a", "b", per_row_s={"a": 0.01, "b": 0.02})
    job = world.submit(MANY)
    world.settle()
    assert at_work(world) == {(job, 0): ("a",), (job, 1): ("b",)}
    world.daemons["a"].worker.pause_at = None
    world.run_until(lambda: len(world.told_of(job, ImageCompleted)) == 3)  # in the time in which b makes one
    go_on(world)
    world.run(job)
    assert makers(world, job) == {0: ("a",), 1: ("b",), 2: ("a",), 3: ("a",)}
    assert [event.report.image_index for event in world.told_of(job, ImageCompleted)] == [0, 2, 3, 1]
    assert len(world.sent("a", ForgetJob)) == len(world.sent("b", ForgetJob)) == 1


def test_for_latency_a_single_picture_is_made_by_the_gang_and_for_throughput_by_one_device() -> None:
    world = World("a", "b")
    soon, many = world.submit(replace(ONE, objective=None)), world.submit(ONE)
    world.run(soon, many)
    assert makers(world, soon) == {0: ("a", "b")}
    assert makers(world, many) in ({0: ("a",)}, {0: ("b",)})


def test_a_picture_that_runs_for_throughput_is_joined_by_nobody() -> None:
    world = paused_world("a", "b", at=8)
    job = world.submit(replace(ONE, steps=60))
    world.settle()
    go_on(world)
    world.run(job)
    assert len(makers(world, job)[0]) == 1
    assert world.told_of(job, ImageReplanned) == []


def test_for_latency_waiting_pictures_are_shared_out_only_where_that_is_sooner() -> None:
    two = ImageRequest(prompt="two", seed=1, count=2, quality=Quality.EXACT)
    unequal = World("a", "b", per_row_s={"a": 0.01, "b": 0.03})
    job = unequal.submit(two)
    unequal.run(job)
    assert makers(unequal, job)[0] == ("a", "b")
    # On workers that decode slowly only the denoising is shared by a gang.
    equal = World("a", "b")
    for daemon in equal.daemons.values():
        daemon.worker.decode_s = 1.0
    job = equal.submit(two)
    equal.run(job)
    assert makers(equal, job) == {0: ("a",), 1: ("b",)}
    (first, _) = equal.told_of(job, ImagePlanned)
    sharing = first.explanation.sharing
    assert sharing.startswith(
        "2 pictures wait: each by one device in 1.970 s as predicted, one after another by 2 agents"
    )
    assert "2 agents" in first.explanation.runners_up[0].label
    assert [(left.agent, left.reason) for left in first.explanation.exclusions] == [
        ("b", ExclusionReason.OTHER_PICTURES)
    ]


def test_a_single_device_is_not_told_twice_as_two_ways() -> None:
    world = World("a", "b", per_row_s={"a": 0.01, "b": 3.0})
    soon, many = world.submit(replace(ONE, objective=Objective.LATENCY)), world.submit(ONE)
    world.run(soon, many)
    (for_latency,), (for_throughput,) = world.told_of(soon, ImagePlanned), world.told_of(many, ImagePlanned)
    assert for_latency.explanation.chosen.plan.agents == ("a",)
    assert for_latency.explanation.sharing == ""
    told = for_throughput.explanation.sharing
    assert told.startswith("throughput is asked for, and no other picture waits: by one device in ")
    assert told.count(" s") == 1, told


def test_for_latency_a_device_that_gets_free_joins_the_last_picture() -> None:
    world = World("a", "b")
    for daemon in world.daemons.values():
        daemon.worker.decode_s = 1.0
    world.daemons["a"].worker.pause_at = 8
    job = world.submit(ImageRequest(prompt="two", seed=1, count=2, steps=60, quality=Quality.EXACT))
    world.settle()
    go_on(world)
    world.run(job)
    assert makers(world, job) == {0: ("a", "b"), 1: ("b",)}
    assert [told.reason for told in world.told_of(job, ImageReplanned)] == [ReplanReason.AGENT_JOINED]


def test_several_waiting_jobs_are_shared_out_as_well() -> None:
    world = World("a", "b")
    jobs = [world.submit(ONE) for _ in range(4)]
    world.run(*jobs)
    assert {makers(world, job)[0] for job in jobs} == {("a",), ("b",)}
    assert all([event.position for event in world.told_of(job, JobQueued)][-1] == 0 for job in jobs)


def test_a_new_picture_takes_the_device_that_is_free() -> None:
    world = paused_world("a", "b")
    first = world.submit(ONE)
    world.settle()
    second = world.submit(replace(ONE, objective=None))
    world.settle()
    assert at_work(world) == {(first, 0): ("a",), (second, 0): ("b",)}
    (planned,) = world.told_of(second, ImagePlanned)
    assert "by those that are free" in planned.explanation.sharing
    go_on(world)
    world.run(first, second)


def test_whose_agent_is_lost_begins_again_elsewhere_and_the_others_are_untouched() -> None:
    world = paused_world("a", "b")
    job = world.submit(replace(MANY, count=2))
    world.settle()
    world.kill_worker("b")
    world.settle()
    assert [failure.agent for failure in world.told_of(job, AgentFailed)] == ["b"]
    assert at_work(world) == {(job, 0): ("a",)}
    go_on(world)
    world.run(job)
    assert makers(world, job) == {0: ("a",), 1: ("a",)}
    assert [(told.image_index, told.begin_step) for told in world.told_of(job, ImageReplanned)] == [(1, 0)]


def test_a_picture_that_was_broken_off_goes_before_those_that_wait() -> None:
    world = paused_world("a", "b")
    job = world.submit(MANY)
    world.settle()
    world.kill_worker("b")
    go_on(world)
    world.run(job)
    assert [event.report.image_index for event in world.told_of(job, ImageCompleted)][:2] == [0, 1]


def test_cancelling_stops_every_picture_of_the_job() -> None:
    world = paused_world("a", "b")
    job = world.submit(MANY)
    world.settle()
    world.cancel(job, ENOUGH)
    assert world.ended == {job: ENOUGH}
    assert len(world.sent("a", CancelEpoch)) == len(world.sent("b", CancelEpoch)) == 1
    go_on(world)
    following = world.submit()
    world.run(following)
    assert world.state.epochs == {}


def test_a_picture_that_fails_for_good_ends_its_job_and_stops_the_others() -> None:
    world = paused_world("a", "b")
    world.daemons["b"].worker.pause_at = None
    world.daemons["b"].worker.fail_at = 6
    job = world.submit(replace(MANY, count=2))
    world.run(job)
    assert isinstance(world.ended[job], InternalError)
    assert len(world.sent("a", CancelEpoch)) == 1
    world.run_until(lambda: not world.state.epochs)


def test_named_devices_do_not_keep_others_from_work() -> None:
    world = paused_world("a", "b", "c")
    on_a = replace(MANY, count=2, overrides=Overrides(devices=(AgentId("a"),)))
    first, second = world.submit(on_a), world.submit(replace(MANY, count=2))
    world.settle()
    assert at_work(world) == {(first, 0): ("a",), (second, 0): ("b",), (second, 1): ("c",)}
    go_on(world)
    world.run(first, second)
    assert set(makers(world, first).values()) == {("a",)}


def test_a_given_plan_waits_for_its_agents() -> None:
    world = paused_world("agent-0", "agent-1")
    first = world.submit(ONE)
    world.settle()
    second = world.submit(ImageRequest(prompt="again", seed=1, plan=exact_plan(12, (5, 3))))
    world.settle()
    assert list(at_work(world)) == [(first, 0)]
    go_on(world)
    world.run(first, second)
    assert makers(world, second) == {0: ("agent-0", "agent-1")}


def test_a_drained_device_makes_its_picture_and_begins_no_other() -> None:
    world = paused_world("a", "b")
    job = world.submit(MANY)
    world.settle()
    world.drain("b")
    go_on(world)
    world.run(job)
    assert sorted(makers(world, job).values()) == [("a",), ("a",), ("a",), ("b",)]


def test_a_client_is_told_what_its_job_waits_for() -> None:
    world = paused_world("a", "b")
    job = world.submit(MANY)
    world.settle()
    world.drain("a")
    world.drain("b")
    go_on(world)
    world.run_until(lambda: bool(world.told_of(job, JobDelayed)))
    for _ in range(20):
        world.tick()
        world.settle()
    (delayed,) = world.told_of(job, JobDelayed)
    assert delayed.reason == "all that could make it are drained: a, b; `polyrhythm drain --undo` puts one back"
    world.drain("b", undo=True)
    world.run(job)
    assert makers(world, job) == {0: ("a",), 1: ("b",), 2: ("b",), 3: ("b",)}


def test_a_job_is_told_that_everybody_loads() -> None:
    world = paused_world("a")
    first, second = world.submit(), world.submit()
    world.settle()
    world.cancel(first, ENOUGH)
    world.kill_worker("a")
    world.settle()
    (delayed,) = world.told_of(second, JobDelayed)
    assert delayed.reason == "nobody is ready: the workers of a are loading; the one of a before: killed"
    world.load("a")
    go_on(world)
    world.run(second)
    assert world.ended[second] is None
