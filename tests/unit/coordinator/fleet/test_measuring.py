"""Who measures when, for whom, and until when; what plans of one device and of gangs make of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.errors import CancelledError
from polyrhythm.fleet import AgentState
from polyrhythm.ids import AgentId, JobId
from polyrhythm.job.events import ImageCompleted, ImagePlanned, ProfilingProgressed
from polyrhythm.job.image import ImageRequest, Overrides, Quality
from polyrhythm.model.facts import DeviceKind
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.profile import Profile
from polyrhythm.session.commands import MeasureProfile, StopMeasuring
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.plan_task import PlanTask, explanation_of
from polyrhythm_coordinator.scheduling.queue.measurements import died_measuring, give_up_measuring
from polyrhythm_coordinator.scheduling.state.phases import Preparing
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.transaction import Transaction
from tests.worlds.fleet_world import World

ONE_HOST = "the same machine"
REQUEST = ImageRequest(prompt="a red apple", seed=1, quality=Quality.HIGH)
OTHER_SIZE = replace(REQUEST, width_px=128, height_px=128)
ENOUGH = CancelledError("the client hung up")


def on_one_host(*agents: str, contention: float = 1.5) -> World:
    """Agents that slow each other down, and whose measurements wait until a test lets them go on."""
    world = World(*agents, host=ONE_HOST)
    for daemon in world.daemons.values():
        daemon.worker.measures_slowly = True
        daemon.worker.contention = contention
    return world


def measuring(world: World) -> list[tuple[str, bool]]:
    """Who measures now, and whether together."""
    return [
        (name, agent.measuring.together)
        for name, agent in sorted(world.state.agents.items())
        if agent.measuring is not None
    ]


def let(world: World, *agents: str) -> None:
    """These end what they measure now."""
    for agent in agents:
        worker = world.daemons[agent].worker
        worker.measures_slowly = False
        world.work(world.daemons[agent])
        worker.measures_slowly = True
    world.settle()


def free(world: World) -> None:
    for daemon in world.daemons.values():
        daemon.worker.measures_slowly = False


def profiles(world: World, job: JobId) -> dict[AgentId, Profile]:
    (planned,) = world.told_of(job, ImagePlanned)
    return {profile.agent: profile for profile in planned.explanation.profiles}


def test_agents_of_one_host_measure_one_after_another_and_then_all_at_once() -> None:
    world = on_one_host("a", "b", "c")
    job = world.submit(REQUEST)
    world.settle()
    seen = [measuring(world)]
    for turn in (("a",), ("b",), ("c",)):
        let(world, *turn)
        seen.append(measuring(world))
    assert seen == [[("a", False)], [("b", False)], [("c", False)], [("a", True), ("b", True), ("c", True)]]
    assert len({world.sent(agent, MeasureProfile)[-1].seconds for agent in "abc"}) == 1
    free(world)
    world.run(job)
    told = world.told_of(job, ProfilingProgressed)
    assert [(event.agents, event.done, event.total) for event in told] == [
        (("a",), 0, 6),
        (("b",), 1, 6),
        (("c",), 2, 6),
        (("a", "b", "c"), 3, 6),
    ]
    assert {(event.width_px, event.height_px) for event in told} == {(64, 64)}


def test_hosts_measure_at_the_same_time() -> None:
    world = World("a", "b")
    for daemon in world.daemons.values():
        daemon.worker.measures_slowly = True
    world.submit(REQUEST)
    world.settle()
    assert measuring(world) == [("a", False), ("b", False)]
    let(world, "a", "b")
    assert measuring(world) == []


def test_a_plan_of_one_device_rests_on_its_speed_alone_and_a_gang_on_that_beside_the_others() -> None:
    world = on_one_host("a", "b")
    free(world)
    world.run(job := world.submit(REQUEST))
    for profile in profiles(world, job).values():
        assert profile.forward_s(8) == pytest.approx(1.5 * profile.forward_s(8, alone=True))
    (planned,) = world.told_of(job, ImagePlanned)
    by_members = {
        len(candidate.plan.agents): candidate.prediction
        for candidate in (planned.explanation.chosen, *planned.explanation.runners_up)
    }
    assert by_members[1].denoise_s == pytest.approx(12 * 8 * 0.01)
    assert by_members[2].agents[0].busy_s == pytest.approx(12 * 4 * 0.01 * 1.5)


def test_an_agent_that_is_named_alone_measures_alone_only() -> None:
    world = on_one_host("a", "b")
    free(world)
    only = replace(REQUEST, overrides=Overrides(devices=(AgentId("a"),)))
    world.run(world.submit(only))
    assert [command.together for command in world.sent("a", MeasureProfile)] == [False]
    assert world.sent("b", MeasureProfile) == []
    world.run(world.submit(REQUEST))
    assert [command.together for command in world.sent("a", MeasureProfile)] == [False, True]
    assert [command.together for command in world.sent("b", MeasureProfile)] == [False, True]


def test_many_agents_of_one_host_get_less_time_each() -> None:
    seconds = {}
    for count in (2, 8):
        world = on_one_host(*(f"agent-{index}" for index in range(count)))
        world.submit(REQUEST)
        world.settle()
        seconds[count] = world.sent("agent-0", MeasureProfile)[0].seconds
    assert seconds == {2: 1.0, 8: 0.25}


def test_reports_of_one_device_and_of_a_gang_refine_what_is_known_of_each() -> None:
    world = on_one_host("a", "b", contention=1.0)
    free(world)
    world.run(world.submit(REQUEST))  # measures
    for daemon in world.daemons.values():
        daemon.worker.slowdown = 1.2
    only = replace(REQUEST, overrides=Overrides(devices=(AgentId("a"),)), steps=40)
    world.run(alone := world.submit(only))
    assert world.told_of(alone, ImageCompleted)[0].report.plans[0].agents == ("a",)
    (known,) = [known for key, known in world.state.profiles.items() if key.device_uuid == "FAKE-a"]
    assert known.together is not None
    assert known.alone.scale > 1.05
    assert known.together.scale == 1.0


def test_a_measurement_ends_with_the_last_job_that_waits_for_it() -> None:
    world = on_one_host("a", "b")
    first, second = world.submit(OTHER_SIZE), world.submit(OTHER_SIZE)
    world.settle()
    world.cancel(first, ENOUGH)
    world.settle()
    assert world.sent("a", StopMeasuring) == []
    world.cancel(second, ENOUGH)
    world.settle()
    assert len(world.sent("a", StopMeasuring)) == 1
    assert measuring(world) == []


def test_the_next_picture_is_measured_as_soon_as_the_one_before_is_cancelled() -> None:
    world = on_one_host("a", "b")
    first = world.submit(OTHER_SIZE)
    world.settle()
    world.cancel(first, ENOUGH)
    free(world)
    following = world.submit(REQUEST)
    world.settle()
    assert world.ended[following] is None
    assert world.now_s == 0.0


def test_an_agent_that_was_stopped_takes_part_in_what_comes() -> None:
    world = on_one_host("a")
    first = world.submit(REQUEST)
    world.settle()
    world.cancel(first, ENOUGH)
    free(world)
    world.run(second := world.submit(REQUEST))
    assert world.ended[second] is None


def test_who_waits_behind_a_measurement_of_another_size_is_told_of_it() -> None:
    world = on_one_host("a")
    running = world.submit(OTHER_SIZE)
    world.settle()
    world.daemons["a"].silent = True  # nothing of it arrives for a moment
    world.cancel(running, ENOUGH)
    waiting = world.submit(REQUEST)
    world.daemons["a"].silent = False
    world.deliver_down(world.daemons["a"])
    world.deliver_up(world.daemons["a"])  # its tokens are counted once the worker has heard of the stop
    world.settle()
    told = [(event.width_px, event.agents) for event in world.told_of(waiting, ProfilingProgressed)]
    assert told[-1] == (64, ("a",))


def test_an_agent_that_measures_is_listed_as_such() -> None:
    world = on_one_host("a")
    world.submit(REQUEST)
    world.settle()
    assert [view.state for view in world.state.views()] == [AgentState.MEASURING]
    free(world)
    world.settle()
    assert [view.state for view in world.state.views()] == [AgentState.READY]


def test_an_agent_that_cannot_measure_together_is_left_out() -> None:
    world = on_one_host("a", "b")
    job = world.submit(REQUEST)
    world.settle()
    let(world, "a")
    let(world, "b")
    world.daemons["b"].worker.fail_at = 0
    free(world)
    world.run(job)
    (planned,) = world.told_of(job, ImagePlanned)
    assert [exclusion.agent for exclusion in planned.explanation.exclusions] == ["b"]
    assert world.ended[job] is None


def two_pictures_being_prepared(world: World, second: ImageRequest) -> tuple[State, JobId, JobId]:
    """A state in which two jobs wait for measurements, the first one's being made by agent a."""
    first = world.submit(REQUEST)
    world.settle()
    assert measuring(world)[0][0] == "a"
    other = world.submit(second)
    world.settle()
    job = world.state.jobs[first]
    (picture,) = job.pictures.values()
    image = replace(world.state.jobs[other].image)
    added = replace(picture, job=other, image=image)
    jobs = {**world.state.jobs, other: replace(world.state.jobs[other], pictures={0: added}, waiting=())}
    return replace(world.state, jobs=jobs), first, other


def test_who_cannot_measure_one_size_takes_part_in_pictures_of_another() -> None:
    world = on_one_host("a", "b")
    state, first, other = two_pictures_being_prepared(world, OTHER_SIZE)
    agent = state.agents[AgentId("a")]
    assert agent.measuring is not None
    tx = Transaction(state, world.now_s)
    give_up_measuring(tx, agent.agent, agent.measuring.number, "too little memory")
    left_out = {name: tx.state.jobs[name].left_out.keys() for name in (first, other)}
    assert left_out == {first: {"a"}, other: set()}


def test_a_death_while_measuring_counts_for_who_asked_and_ends_a_job_once() -> None:
    world = on_one_host("a", "b")
    state, first, other = two_pictures_being_prepared(
        world, replace(REQUEST, overrides=Overrides(devices=(AgentId("b"),)))
    )
    (picture,) = state.jobs[first].pictures.values()
    hopeless = replace(picture, deaths=("c (killed)",))
    second = replace(picture, index=1)
    state = replace(state, jobs={**state.jobs, first: replace(state.jobs[first], pictures={0: hopeless, 1: second})})
    tx = Transaction(state, world.now_s)
    died_measuring(tx, AgentId("a"), "killed")
    assert first not in tx.state.jobs
    assert tx.state.jobs[other].pictures[0].deaths == ()


def preparing(state: State, job: JobId) -> Preparing:
    phase = state.jobs[job].pictures[0].phase
    assert isinstance(phase, Preparing)
    return phase


@pytest.mark.parametrize("kind", DeviceKind)
def test_messages_of_a_gang_that_never_formed_cost_a_cpu_computing_time(kind: DeviceKind) -> None:
    """Or its first plan would take a gang to be free of what every later one counts against it."""
    asked: list[PlanRequest] = []

    def planner(task: PlanTask) -> Explanation:
        asked.append(task.request)
        return explanation_of(task)

    world = World("a", "b", planner=planner)
    agents = {name: replace(a, device=replace(a.device, kind=kind)) for name, a in world.state.agents.items()}
    world.state = replace(world.state, agents=agents)
    world.run(world.submit(REQUEST))
    world.run(world.submit(REQUEST))
    first, later = asked
    a, b = first.agents
    assert (first.link(a, b).handling_s > 0) == (kind is DeviceKind.CPU)
    assert later.link(a, b).handling_s == 0  # as these agents measured it
