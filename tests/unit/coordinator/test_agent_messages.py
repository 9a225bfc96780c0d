"""The registry: who is let in, who counts as alive, what a worker's end means while it does nothing."""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.codec.fleet import AGENT
from polyrhythm.errors import AgentsLostError, AlreadyInUseError, InvalidArgumentError, PolyrhythmError, WireError
from polyrhythm.fleet import AgentState
from polyrhythm.ids import AgentId
from polyrhythm.session.commands import Welcome
from polyrhythm.session.events import Heartbeat, WorkerLost, WorkerReady
from polyrhythm.v1 import fleet_pb2
from polyrhythm_coordinator.scheduling.state.effects import DisconnectAgent, Effect, ReadinessChanged
from polyrhythm_coordinator.scheduling.state.events import AgentConnected, AgentDisconnected, SessionId, Tick
from polyrhythm_coordinator.scheduling.state.state import State
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.scheduling.transition import transition
from tests.fakes.model import FACTS
from tests.fakes.worker import register
from tests.values.calibrations import calibration
from tests.worlds.fleet_world import World

A = AgentId("a")


def state_of(world: World, agent: str) -> AgentState:
    return world.state.agents[AgentId(agent)].state


def disconnections(effects: tuple[Effect, ...]) -> list[tuple[SessionId, type[PolyrhythmError]]]:
    return [(effect.session, type(effect.error)) for effect in effects if isinstance(effect, DisconnectAgent)]


def test_an_agent_is_welcomed_loads_and_is_ready() -> None:
    world = World()
    world.connect("a")
    assert world.sent("a", Welcome) == [Welcome(incarnation=1, heartbeat_interval_s=0.25)]
    assert state_of(world, "a") is AgentState.LOADING
    world.load("a")
    assert state_of(world, "a") is AgentState.READY
    assert world.log[-1][2] == (ReadinessChanged(ready=True),)
    assert [view.name for view in world.state.views()] == ["a"]


def test_a_worker_that_ends_before_it_is_ready_is_told_with_its_last_words_until_another_one_is() -> None:
    world = World()
    world.connect("a")
    world.say("a", WorkerLost(reason="exit code 1; it said:\nno such folder"))
    (view,) = world.state.views()
    assert (view.state, view.trouble) == (AgentState.LOADING, "exit code 1; it said:\nno such folder")
    job = world.submit()
    world.tick(world.state.limits.loading_grace_s + 1.0)
    assert "the one of a before: exit code 1; it said:\nno such folder" in str(world.ended[job])
    world.load("a")
    (view,) = world.state.views()
    assert (view.state, view.trouble) == (AgentState.READY, "")


def test_another_protocol_is_refused() -> None:
    state = State(incarnation=1, limits=Limits())
    connected = AgentConnected(session=SessionId(1), register=register(A, protocol_version=99))
    state, effects = transition(state, connected, 0.0)
    assert state.agents == {}
    assert disconnections(effects) == [(SessionId(1), InvalidArgumentError)]


def test_a_name_that_is_alive_is_refused() -> None:
    world = World("a")
    state, effects = transition(world.state, AgentConnected(session=SessionId(2), register=register(A)), 0.5)
    assert disconnections(effects) == [(SessionId(2), AlreadyInUseError)]
    assert state.agents[A].session == SessionId(1)


def test_a_name_whose_holder_is_silent_is_taken_over() -> None:
    world = World("a")
    state, effects = transition(world.state, AgentConnected(session=SessionId(2), register=register(A)), 1.5)
    assert disconnections(effects) == [(SessionId(1), AgentsLostError)]
    assert state.agents[A].session == SessionId(2)
    assert state.agents[A].state is AgentState.LOADING


def test_the_end_of_an_old_stream_does_not_touch_the_new_one() -> None:
    world = World("a")
    state, _ = transition(world.state, AgentConnected(session=SessionId(2), register=register(A)), 1.5)
    state, _ = transition(state, AgentDisconnected(agent=A, session=SessionId(1), reason="late"), 1.6)
    assert state.agents[A].session == SessionId(2)


def test_a_silent_agent_is_lost_after_the_heartbeat_timeout() -> None:
    world = World("a", "b")
    world.daemons["a"].silent = True
    for _ in range(10):
        world.tick()
    assert set(world.state.agents) == {"a", "b"}
    world.tick()
    assert set(world.state.agents) == {"b"}
    assert disconnections(world.log[-1][2]) == [(SessionId(1), AgentsLostError)]


def test_the_coordinators_own_pause_is_nobodys_fault() -> None:
    world = World("a")
    world.tick()
    world.now_s += 20.0  # the coordinator was stopped: neither ticks nor heartbeats came in
    world.feed(Tick())
    assert set(world.state.agents) == {"a"}
    world.daemons["a"].silent = True
    for _ in range(11):
        world.tick()
    assert set(world.state.agents) == set()


def test_a_lost_worker_loads_again() -> None:
    world = World("a")
    world.say("a", WorkerLost(reason="killed"))
    assert state_of(world, "a") is AgentState.LOADING
    assert world.log[-1][2] == (ReadinessChanged(ready=False),)
    world.load("a")
    assert state_of(world, "a") is AgentState.READY


def test_a_second_introduction_costs_the_stream() -> None:
    world = World("a")
    effects = world.say("a", register(A))
    assert disconnections(effects) == [(SessionId(1), WireError)]
    assert world.say("a", Heartbeat(sequence=1)) == ()


def test_an_answer_says_of_calibrations_only_which_there_are() -> None:
    """Their numbers are for the planner: those of 64 agents fit no message, and nobody reads them."""
    world = World("a")
    measured = calibration()
    facts = replace(FACTS, calibrations=(measured, replace(measured, steps=measured.steps + 1)))
    world.say("a", WorkerReady(models=(facts,)))
    assert world.state.agents[AgentId("a")].models == (facts,)
    (view,) = world.state.views()
    (told,) = view.models
    assert told.calibrations == ()
    assert [(grid.sampler, grid.steps, grid.pictures) for grid in told.calibrated] == [
        (measured.sampler, measured.steps, 1),
        (measured.sampler, measured.steps + 1, 1),
    ]
    answer = fleet_pb2.ListAgentsResponse(agents=[AGENT.to_proto(view)] * 64)
    assert answer.ByteSize() < 64 << 10
