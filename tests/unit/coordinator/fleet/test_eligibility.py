"""Who may work on a picture now: the order in which bars count, and that everybody who asks gets the same answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from polyrhythm.ids import AgentId, EpochId
from polyrhythm.job.events import ImagePlanned
from polyrhythm.job.image import ImageRequest, Overrides, Quality
from polyrhythm_coordinator.scheduling.fleet.agent_kinds import agent_kinds
from polyrhythm_coordinator.scheduling.fleet.eligibility import Bar, bar_of, exclusion_of, of_picture
from polyrhythm_coordinator.scheduling.state.job import Picture
from polyrhythm_coordinator.scheduling.state.phases import Preparing, Running
from polyrhythm_coordinator.scheduling.state.state import Agent, State
from tests.fakes.model import FACTS
from tests.worlds.fleet_world import World

A, B = AgentId("a"), AgentId("b")
EXACT = ImageRequest(prompt="a red apple", seed=1, quality=Quality.EXACT)
Fault = Callable[[State, Picture], tuple[State, Picture]]


def of_agent(**changes: object) -> Fault:
    def fault(state: State, picture: Picture) -> tuple[State, Picture]:
        agent: Agent = replace(state.agents[A], **changes)
        return replace(state, agents={**state.agents, A: agent}), picture

    return fault


def of_job(**changes: object) -> Fault:
    def fault(state: State, picture: Picture) -> tuple[State, Picture]:
        job = replace(state.jobs[picture.job], **changes)
        return replace(state, jobs={**state.jobs, job.job: job}), picture

    return fault


def of_own_picture(**changes: object) -> Fault:
    return lambda state, picture: (state, replace(picture, **changes))


def measured_long_ago(state: State, picture: Picture) -> tuple[State, Picture]:
    measuring = state.agents[A].measuring
    assert measuring is not None
    return of_agent(measuring=replace(measuring, asked_s=-1e6))(state, picture)


def gone(state: State, picture: Picture) -> tuple[State, Picture]:
    return replace(state, agents={B: state.agents[B]}), picture


FAULTS: tuple[tuple[Bar, Fault], ...] = (
    (Bar.LATE, measured_long_ago),
    (Bar.OCCUPIED, of_agent(epoch=EpochId(incarnation=1, counter=99))),
    (Bar.NO_STATE, of_own_picture(holders_only=True)),
    (Bar.OTHER_DTYPE, of_agent(models=(replace(FACTS, dtype="bfloat16"),))),
    (Bar.OTHER_WEIGHTS, of_agent(models=(replace(FACTS, fingerprint="beef"),))),
    (Bar.LOADING, of_agent(worker_ready=False, trouble="killed")),
    (Bar.DRAINED, lambda state, picture: (replace(state, drained=frozenset({A})), picture)),
    (Bar.ABSENT, gone),
    (Bar.LOST, of_own_picture(lost={A: "killed"})),
    (Bar.LEFT_OUT, of_job(left_out={A: "it could not measure"})),
)
"""Each goes before the one above it."""


def prepared() -> tuple[State, Picture]:
    """An exact picture for which a measures."""
    world = World("a", "b")
    for daemon in world.daemons.values():
        daemon.worker.measures_slowly = True
    job = world.submit(EXACT)
    world.settle()
    return world.state, world.state.jobs[job].pictures[0]


def test_of_several_bars_the_first_one_counts() -> None:
    state, picture = prepared()
    assert bar_of(of_picture(state, picture), A) is Bar.MEASURING
    for bar, fault in FAULTS:
        state, picture = fault(state, picture)
        assert bar_of(of_picture(state, picture), A) is bar
        exclusion = exclusion_of(of_picture(state, picture), A)
        assert exclusion is not None
        assert exclusion.message
    named = replace(picture.image, overrides=Overrides(devices=(B,)))
    state, picture = of_job(image=named)(state, replace(picture, image=named))
    assert bar_of(of_picture(state, picture), A) is Bar.NOT_NAMED


def test_a_bar_that_is_ignored_hides_none_of_the_others() -> None:
    state, picture = prepared()
    state = replace(state, drained=frozenset({A}))
    view = of_picture(state, picture)
    assert bar_of(view, A, ignoring=frozenset({Bar.DRAINED})) is Bar.MEASURING
    assert bar_of(view, A, ignoring=frozenset({Bar.DRAINED, Bar.MEASURING})) is Bar.UNMEASURED


def test_agents_are_sorted_by_their_bars() -> None:
    state, picture = prepared()
    state, picture = of_agent(worker_ready=False)(state, picture)
    kinds = agent_kinds(state, picture, 0.0)
    assert (kinds.of(Bar.LOADING), kinds.of(Bar.MEASURING), kinds.ready) == ((A,), (B,), ())
    assert (kinds.candidates, kinds.coming) == ((B,), (A,))
    assert kinds.coming_message == "the workers of a are loading"


def test_only_a_picture_that_has_not_begun_waits_for_measurements_beside_others() -> None:
    world = World("a", "b", host="the same machine")
    world.run(world.submit(EXACT))
    for daemon in world.daemons.values():
        daemon.worker.pause_at = 4
    job = world.submit(EXACT)
    world.settle()
    picture = world.state.jobs[job].pictures[0]
    alone = {key: replace(profile, together=None) for key, profile in world.state.profiles.items()}
    state = replace(world.state, profiles=alone, epochs={}, agents={
        name: replace(agent, epoch=None) for name, agent in world.state.agents.items()
    })  # fmt: skip
    assert isinstance(picture.phase, Running)
    assert bar_of(of_picture(state, picture), A) is None
    assert bar_of(of_picture(state, replace(picture, phase=Preparing(since_s=0.0))), A) is Bar.UNMEASURED
    apart = replace(state, drained=frozenset({B}))
    assert bar_of(of_picture(apart, replace(picture, phase=Preparing(since_s=0.0))), A) is None


def test_a_picture_that_nobody_free_could_make_keeps_nobody_waiting() -> None:
    """Though somebody who is free holds its weights: an exact picture is computed in one dtype."""
    world = World()
    for name, dtype in (("a", "float32"), ("b", "bfloat16")):
        world.connect(name).worker.facts = (replace(FACTS, dtype=dtype),)
        world.load(name)
    on_a, on_b = (replace(EXACT, overrides=Overrides(devices=(name,))) for name in (A, B))
    world.daemons["a"].worker.pause_at = 4
    running = world.submit(on_a)
    world.settle()
    waiting, other = world.submit(EXACT), world.submit(on_b)
    world.run_until(lambda: other in world.ended)
    assert world.ended == {other: None}
    world.daemons["a"].worker.pause_at = None
    world.run(running, waiting)
    assert world.told_of(waiting, ImagePlanned)[0].explanation.chosen.plan.agents == (A,)
