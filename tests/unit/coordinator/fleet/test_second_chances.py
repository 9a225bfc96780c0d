"""Who was lost on a picture goes on with it once where nobody else is left; the patience with who works alone."""

from __future__ import annotations

import pytest

from polyrhythm.errors import AgentsLostError, NoAgentsError, PictureFailedError, PolyrhythmError
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import AgentFailed, ImagePlanned, ImageReplanned, JobDelayed, ReplanReason
from polyrhythm.job.image import ImageRequest
from polyrhythm.plan.explanation import Explanation
from polyrhythm.session.commands import AbortEpoch, StartEpoch
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask, explanation_of
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from tests.values.plans import plan, segment
from tests.worlds.fleet_world import World
from tests.worlds.paused_pictures import HIGH, at_step, go_on, report_of


def lose(world: World, agent: str, kind: str) -> None:
    getattr(world, kind)(agent)
    world.settle()


def come_back(world: World, agent: str) -> None:
    """With another worker, over another stream where the first one has ended."""
    if world.daemons[agent].session is None:
        world.connect(agent)
    world.load(agent)
    go_on(world)


def error_of(world: World, job: JobId) -> PolyrhythmError:
    world.run_until(lambda: job in world.ended, limit_s=40.0)
    error = world.ended[job]
    assert error is not None
    following = world.submit()
    come_back(world, "a")
    world.run(following)
    assert world.ended[following] is None
    return error


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("kill_worker", "nobody is ready: the workers of a are loading; the one of a before: killed"),
        ("kill_daemon", "nobody is ready: a may be back in a moment"),
    ],
)
def test_with_nobody_left_a_picture_waits_for_the_agent_that_it_lost(kind: str, told: str) -> None:
    world, job = at_step(12, "a")
    lose(world, "a", kind)
    assert [event.agent for event in world.told_of(job, AgentFailed)] == ["a"]
    assert [event.reason for event in world.told_of(job, JobDelayed)] == [told]
    come_back(world, "a")
    world.run(job)
    (replanned,) = world.told_of(job, ImageReplanned)
    # What the worker held is gone with it.
    assert (replanned.begin_step, replanned.reason) == (0, ReplanReason.AGENT_LOST)
    assert [plan.agents for plan in report_of(world, job).report.plans] == [("a",)]


@pytest.mark.parametrize(
    ("first", "second", "error", "told"),
    [
        ("kill_worker", "kill_worker", PictureFailedError, "a (killed); then a (killed)"),
        ("kill_daemon", "kill_daemon", AgentsLostError, "a: lost earlier on this picture: connection reset"),
        ("kill_daemon", "kill_worker", AgentsLostError, "a: lost twice on this picture: killed"),
        ("kill_worker", "kill_daemon", AgentsLostError, "a: lost earlier on this picture: connection reset"),
    ],
)
def test_a_second_loss_is_for_good(first: str, second: str, error: type[PolyrhythmError], told: str) -> None:
    world, job = at_step(12, "a")
    lose(world, "a", first)
    come_back(world, "a")
    world.daemons["a"].worker.pause_at = 12
    world.settle()
    assert len(world.sent("a", StartEpoch)) == 2
    lose(world, "a", second)
    assert job in world.ended, "nobody is waited for"
    found = error_of(world, job)
    assert isinstance(found, error)
    assert told in str(found)


@pytest.mark.parametrize(("kind", "patience_s"), [("kill_worker", 30.0), ("kill_daemon", 5.0)])
def test_who_does_not_come_back_is_waited_for_so_long(kind: str, patience_s: float) -> None:
    world, job = at_step(12, "a")
    lose(world, "a", kind)
    begun_s = world.now_s
    world.run_until(lambda: job in world.ended, limit_s=40.0)
    assert patience_s - 0.2 < world.now_s - begun_s < patience_s + 0.2
    assert isinstance(world.ended[job], AgentsLostError)
    assert "no agent is left for the picture" in str(world.ended[job])


def test_as_long_as_another_is_left_who_was_lost_takes_no_part_and_afterwards_it_does() -> None:
    world, job = at_step(12, "a", "b")
    lose(world, "b", "kill_worker")
    world.load("b")
    world.settle()
    assert [event.plan.agents for event in world.told_of(job, ImageReplanned)] == [("a",)]
    lose(world, "a", "kill_daemon")
    go_on(world)
    world.run(job)
    assert [event.plan.agents for event in world.told_of(job, ImageReplanned)] == [("a",), ("b",)]
    report_of(world, job)


def test_who_loads_goes_before_who_was_lost() -> None:
    world, job = at_step(12, "a")
    world.connect("b")
    lose(world, "a", "kill_worker")
    world.load("a")
    world.settle()
    assert world.told_of(job, ImageReplanned) == []
    world.load("b")
    go_on(world)
    world.run(job)
    assert world.told_of(job, ImageReplanned)[0].plan.agents == ("b",)


def test_who_was_lost_goes_before_who_is_drained() -> None:
    world = World("a", "b")
    world.drain("b")
    world.daemons["a"].worker.pause_at = 12
    job = world.submit(HIGH)
    world.settle()
    lose(world, "a", "kill_worker")
    come_back(world, "a")
    world.run(job)
    (replanned,) = world.told_of(job, ImageReplanned)
    assert replanned.plan.agents == ("a",)


@pytest.mark.parametrize("back", [False, True])
def test_who_was_lost_goes_on_where_the_others_cannot_make_the_picture(*, back: bool) -> None:
    """Whether it is back before that turns out, or later."""

    def only_with_a(task: PlanTask) -> Explanation:
        if AgentId("a") not in task.request.agents:
            raise NoAgentsError("it fits on none of them")
        return explanation_of(task)

    world = World("a", "b", planner=only_with_a)
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 12
    job = world.submit(HIGH)
    world.settle()
    world.kill_worker("a")
    while not world.plans:
        for daemon in world.daemons.values():
            world.deliver_down(daemon)
            world.work(daemon)
            world.deliver_up(daemon)
    if back:
        come_back(world, "a")
        world.settle()
    else:
        world.settle()
        reason = "it fits on none of them; the workers of a are loading; the one of a before: killed"
        assert [event.reason for event in world.told_of(job, JobDelayed)] == [reason]
        come_back(world, "a")
    world.run(job)
    assert "a" in world.told_of(job, ImageReplanned)[-1].plan.agents
    report_of(world, job)


def given(*agents: str) -> ImageRequest:
    names = tuple(map(AgentId, agents))
    rows = (8,) if len(agents) == 1 else (4, 4)
    return ImageRequest(prompt="given", seed=1, plan=plan(segment(0, 40, rows, agents=names, beat_steps=4)))


def test_a_plan_that_was_given_is_followed_again_by_its_only_agent() -> None:
    world = World("a", "b", per_row_s={"b": 0.001})
    world.daemons["a"].worker.pause_at = 12
    job = world.submit(given("a"))
    world.settle()
    lose(world, "b", "kill_daemon")
    lose(world, "a", "kill_worker")
    come_back(world, "a")
    world.run(job)
    (replanned,) = world.told_of(job, ImageReplanned)
    assert replanned.plan.segments == world.told_of(job, ImagePlanned)[0].explanation.chosen.plan.segments


def test_a_plan_that_was_given_is_not_insisted_on_where_one_of_its_agents_stays_away() -> None:
    world = World("a", "b")
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 12
    job = world.submit(given("a", "b"))
    world.settle()
    lose(world, "b", "kill_daemon")
    lose(world, "a", "kill_worker")
    world.now_s += world.state.limits.return_grace_s
    come_back(world, "a")
    world.run(job)
    assert report_of(world, job).report.plans[-1].agents == ("a",)


# --- patience with who is alone ---------------------------------------------------------------------------------------


def test_a_member_that_works_alone_is_given_more_time_for_a_step() -> None:
    def step_timeout_s(*agents: str) -> float:
        world = World(*agents)
        world.run(world.submit(HIGH))
        return world.sent("a", StartEpoch)[-1].step_timeout_s

    alone_s, together_s = step_timeout_s("a"), step_timeout_s("a", "b")
    # Eight rows of 10 ms, and four; four times that, and the constants.
    assert alone_s == pytest.approx(0.32 + Limits().step_timeout_s + Limits().alone_extra_s)
    assert together_s == pytest.approx(0.16 + Limits().step_timeout_s, abs=0.05)


@pytest.mark.parametrize(("stall_s", "stopped"), [(4.0, False), (15.0, False), (30.0, True)])
def test_a_stall_of_seconds_ends_neither_a_picture_nor_its_only_worker(*, stall_s: float, stopped: bool) -> None:
    """Told to stop in the end, it still leaves the epoch once it goes on, and the picture goes on from where it was."""
    world, job = at_step(12, "a")
    world.daemons["a"].worker.hung = True
    go_on(world)
    begun_s = world.now_s
    while world.now_s < begun_s + stall_s:
        world.tick()
        world.settle()
    world.daemons["a"].worker.hung = False
    world.run(job)
    assert bool(world.sent("a", AbortEpoch)) is stopped
    assert world.told_of(job, AgentFailed) == []
    assert [event.begin_step for event in world.told_of(job, ImageReplanned)] == [12] * stopped
    report_of(world, job)


def test_an_only_worker_that_hangs_for_ever_is_lost_in_the_end() -> None:
    world, job = at_step(12, "a")
    world.daemons["a"].worker.hung = True
    go_on(world)
    world.run_until(lambda: "a" not in world.state.agents, limit_s=60.0)
    assert world.sent("a", AbortEpoch)
    come_back(world, "a")
    world.run(job)
    report_of(world, job)
