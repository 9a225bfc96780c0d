"""Who is measured, who is waited for, who is left out before a plan."""

from __future__ import annotations

from polyrhythm.errors import InvalidArgumentError, NoAgentsError
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import ImagePlanned, JobAccepted, JobDelayed
from polyrhythm.job.image import ImageRequest, Overrides
from polyrhythm.plan.explanation import ExclusionReason
from polyrhythm.session.commands import MeasureProfile, StartEpoch
from polyrhythm_coordinator.scheduling.state.events import PlanFailed
from tests.values.plans import exact_plan
from tests.worlds.fleet_world import TICK_S, World


def exclusions(world: World, job: str) -> dict[str, ExclusionReason]:
    return {
        exclusion.agent: exclusion.reason
        for told in world.told.values()
        for event in told
        if isinstance(event, ImagePlanned)
        for exclusion in event.explanation.exclusions
    }


def test_an_agent_that_cannot_measure_is_left_out_visibly() -> None:
    world = World("a", "b")
    world.daemons["b"].worker.fail_at = 0
    job = world.submit()
    world.run(job)
    assert world.ended[job] is None
    assert exclusions(world, job) == {"b": ExclusionReason.NOT_READY}


def test_an_agent_that_takes_too_long_is_left_out_and_asked_no_more() -> None:
    world = World("a", "b")
    job = world.submit()
    while not world.told_of(job, JobAccepted):
        world.deliver_down(world.daemons["a"])
        world.deliver_up(world.daemons["a"])
    world.daemons["b"].worker.hung = True
    world.run_until(lambda: job in world.ended, limit_s=130)
    assert world.ended[job] is None
    assert exclusions(world, job) == {"b": ExclusionReason.TOO_SLOW}
    assert world.now_s >= 120
    assert len(world.sent("b", MeasureProfile)) == 1


def test_if_nobody_can_measure_the_job_ends() -> None:
    world = World("a")
    world.daemons["a"].worker.fail_at = 0
    job = world.submit()
    world.run(job)
    error = world.ended[job]
    assert isinstance(error, NoAgentsError)
    assert "out of memory" in str(error)


def test_agents_with_other_weights_and_loading_agents_are_listed() -> None:
    world = World("a")
    world.connect("c")
    job = world.submit()
    world.run(job)
    assert exclusions(world, job) == {"c": ExclusionReason.NOT_READY}


def test_a_job_waits_in_its_turn_for_an_agent_that_loads() -> None:
    world = World("a")
    world.daemons["a"].worker.pause_at = 4
    first = world.submit()
    second = world.submit()
    world.settle()
    world.kill_worker("a")
    world.settle()
    for _ in range(20):
        world.tick()
    assert not world.ended
    world.load("a")
    world.run(first, second)
    assert list(world.ended.items()) == [(first, None), (second, None)]


def left_alone() -> tuple[World, JobId]:
    """The second job's turn comes when the only agent's stream ends."""
    world = World("a")
    world.daemons["a"].worker.pause_at = 4
    world.submit()
    second = world.submit()
    world.settle()
    world.kill_daemon("a")
    return world, second


def test_a_job_in_its_turn_with_no_agent_at_all_ends() -> None:
    world, second = left_alone()
    world.run(second)
    assert isinstance(world.ended[second], NoAgentsError)
    assert world.now_s <= world.state.limits.return_grace_s + 2 * TICK_S


def test_a_job_in_its_turn_outlasts_a_stream_that_breaks_for_a_moment() -> None:
    world, second = left_alone()
    assert [told.reason for told in world.told_of(second, JobDelayed)] == ["nobody is ready: a may be back in a moment"]
    world.tick()
    world.connect("a")
    world.load("a")
    world.run(second)
    assert world.ended[second] is None


def test_a_request_outlasts_a_stream_that_breaks_for_a_moment() -> None:
    world = World("a", "b")
    world.kill_daemon("b")
    named = world.submit(ImageRequest(prompt="a red apple", seed=1, overrides=Overrides(devices=(AgentId("b"),))))
    world.kill_daemon("a")
    anybody = world.submit()
    world.settle()
    assert not world.ended
    for agent in ("a", "b"):
        world.connect(agent)
        world.load(agent)
    world.run(named, anybody)
    assert set(world.ended.values()) == {None}


def refused_plan(*agents: str, coming: str, drained: bool = False) -> tuple[World, JobId]:
    """None of those who are ready can make the picture; another agent is loading, or drained."""
    world = World(*agents)
    world.connect(coming)
    if drained:
        world.load(coming)
        world.drain(coming)
    job = world.submit()
    world.run_until(lambda: bool(world.plans))
    refuse_plan(world, job)
    return world, job


def refuse_plan(world: World, job: JobId) -> None:
    number = world.plans.popleft().number
    world.feed(PlanFailed(job=job, number=number, error=NoAgentsError("it fits on none of them")))


def test_a_picture_that_fits_on_none_of_those_that_are_ready_waits_for_one_that_loads() -> None:
    world, job = refused_plan("a", coming="b")
    (told,) = world.told_of(job, JobDelayed)
    assert told.reason == "it fits on none of them; the workers of b are loading"
    world.load("b")
    world.run(job)
    assert world.ended[job] is None


def test_it_does_not_wait_for_one_that_loads_for_ever() -> None:
    world, job = refused_plan("a", coming="b")
    while not world.plans:
        world.tick()
    assert world.now_s >= world.state.limits.loading_grace_s
    refuse_plan(world, job)
    assert isinstance(world.ended[job], NoAgentsError)


def test_a_picture_that_fits_on_none_of_those_that_are_ready_waits_for_one_that_is_drained() -> None:
    world, job = refused_plan("a", coming="b", drained=True)
    (told,) = world.told_of(job, JobDelayed)
    assert told.reason.startswith("it fits on none of them; b: it is drained")
    world.run(other := world.submit())
    assert world.ended == {other: None}
    world.drain("b", undo=True)
    world.run(job)
    assert world.ended[job] is None


def measuring_slowly(*agents: str, request: ImageRequest | None = None) -> tuple[World, JobId]:
    """A picture waits for measurements of all of them."""
    world = World(*agents)
    for daemon in world.daemons.values():
        daemon.worker.measures_slowly = True
    job = world.submit(request)
    world.settle()
    return world, job


def test_a_picture_for_which_all_are_drained_is_looked_at_again_when_somebody_is_not_expected_back_any_more() -> None:
    world, job = measuring_slowly(
        "agent-0", "agent-1", request=ImageRequest(prompt="again", plan=exact_plan(12, (5, 3)))
    )
    world.drain("agent-0")
    world.kill_daemon("agent-1")
    world.settle()
    assert "are drained: agent-0" in world.told_of(job, JobDelayed)[-1].reason
    assert job not in world.ended
    world.run(job)
    assert isinstance(world.ended[job], InvalidArgumentError)
    assert world.now_s <= world.state.limits.return_grace_s + 2 * TICK_S


def test_who_is_put_back_while_it_loads_is_waited_for_as_one_that_loads() -> None:
    world, job = measuring_slowly("a")
    world.drain("a")
    world.settle()
    world.kill_worker("a")
    world.settle()
    assert world.told_of(job, JobDelayed)[-1].reason.startswith("all that could make it are drained: a")
    world.drain("a", undo=True)
    assert world.told_of(job, JobDelayed)[-1].reason.startswith("nobody is ready: the workers of a are loading")
    world.load("a")
    world.run(job)
    assert world.ended[job] is None


def test_a_given_plan_is_refused_if_one_of_its_agents_cannot_be_measured() -> None:
    world = World("agent-0", "agent-1")
    world.daemons["agent-1"].worker.fail_at = 0
    job = world.submit(ImageRequest(prompt="again", seed=1, plan=exact_plan(12, (5, 3))))
    world.run(job)
    assert isinstance(world.ended[job], InvalidArgumentError)


def test_if_the_fleet_changes_under_a_plan_it_is_planned_again() -> None:
    world = World("a", "b")
    job = world.submit()
    while not world.plans:
        for daemon in world.daemons.values():
            world.deliver_down(daemon)
            world.work(daemon)
            world.deliver_up(daemon)
    world.kill_daemon("b")
    world.run(job)
    assert world.ended[job] is None
    (planned,) = world.told_of(job, ImagePlanned)
    assert planned.explanation.chosen.plan.agents == ("a",)
    assert [command.members for command in world.sent("a", StartEpoch)] == [(AgentId("a"),)]


def test_no_plan_ends_the_job() -> None:
    world = World("a")
    job = world.submit()
    while not world.plans:
        for piece in (world.deliver_down, world.work, world.deliver_up):
            piece(world.daemons["a"])
    error = NoAgentsError("nothing fits")
    world.feed(PlanFailed(job=job, number=world.plans.popleft().number, error=error))
    assert world.ended[job] is error
