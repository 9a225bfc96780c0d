"""Agents come, load, speak and go. Owns the registry; what a loss means for a picture is in ``recovery``."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from polyrhythm.errors import (
    AgentsLostError,
    AlreadyInUseError,
    InvalidArgumentError,
    PolyrhythmError,
    ResourceExhaustedError,
    WireError,
)
from polyrhythm.fleet import AGENTS_MAX
from polyrhythm.ids import AgentId
from polyrhythm.model.facts import DeviceFacts
from polyrhythm.session.messages import (
    PROTOCOL_VERSION,
    AgentEvent,
    BeatDone,
    EpochEnded,
    EpochJoined,
    Heartbeat,
    ImageMade,
    MemoryRead,
    PartLoaded,
    PreviewMade,
    ProfileMeasured,
    Register,
    RequestFailed,
    StepDone,
    TokensCounted,
    Welcome,
    WorkerLost,
    WorkerReady,
)
from polyrhythm.session.rendezvous import StoreRequest
from polyrhythm_coordinator.scheduling.epochs.progress import take_report
from polyrhythm_coordinator.scheduling.epochs.recovery import member_lost, take_end
from polyrhythm_coordinator.scheduling.queue.admission import lose_answers, take_counts, take_failure
from polyrhythm_coordinator.scheduling.queue.preparation import (
    died_measuring,
    give_up_measuring,
    gone_measuring,
    take_profile,
)
from polyrhythm_coordinator.scheduling.state.effects import DisconnectAgent
from polyrhythm_coordinator.scheduling.state.events import AgentConnected, AgentEventReceived, SessionId
from polyrhythm_coordinator.scheduling.state.rendezvous_store import operate, refuse
from polyrhythm_coordinator.scheduling.state.state import Agent, Departure
from polyrhythm_coordinator.scheduling.state.transaction import Turn, without


def connect(turn: Turn, event: AgentConnected) -> None:
    """Welcomes an agent, or refuses it: another protocol, a name whose holder is alive, or one agent too many."""
    register, session = event.register, event.session
    error = _refusal(turn, register)
    if error is not None:
        turn.emit(DisconnectAgent(agent=register.agent, session=session, error=error))
        return
    if register.agent in turn.state.agents:
        disconnect(turn, register.agent, AgentsLostError("said nothing for too long and came back"))
    turn.state = replace(turn.state, departed=without(turn.state.departed, register.agent))
    turn.put_agent(
        Agent(
            agent=register.agent,
            session=session,
            device=register.device,
            software=register.software,
            last_heard_s=turn.now_s,
            usable_bytes=usable_at_first(register.device),
        )
    )
    welcome = Welcome(incarnation=turn.state.incarnation, heartbeat_interval_s=turn.limits.heartbeat_interval_s)
    turn.send(register.agent, welcome)


def usable_at_first(device: DeviceFacts) -> int:
    """What an agent may use, as far as it has said when it registers: its worker holds nothing yet."""
    limit_bytes = device.memory_limit_bytes
    return device.memory_free_bytes if limit_bytes is None else min(limit_bytes, device.memory_free_bytes)


def receive(turn: Turn, event: AgentEventReceived) -> None:
    """Takes an agent's message; one that cannot be true costs the agent its stream."""
    agent = turn.state.agents.get(event.agent)
    if agent is None or agent.session != event.session:
        return
    turn.put_agent(replace(agent, last_heard_s=turn.now_s))
    try:
        _take(turn, event.agent, event.event)
    except WireError as error:
        disconnect(turn, event.agent, error)


def disconnect(turn: Turn, name: AgentId, error: PolyrhythmError) -> None:
    """Ends an agent's stream and counts it as lost."""
    session = turn.state.agents[name].session
    turn.emit(DisconnectAgent(agent=name, session=session, error=error))
    lose(turn, name, session, str(error))


def lose(turn: Turn, name: AgentId, session: SessionId, reason: str) -> None:
    """An agent's stream is over."""
    agent = turn.state.agents.get(name)
    if agent is None or agent.session != session:
        return
    departure = Departure(at_s=turn.now_s, models=agent.models)
    departed = {**turn.state.departed, name: departure}
    turn.state = replace(turn.state, agents=without(turn.state.agents, name), departed=departed)
    if agent.measuring is not None:
        gone_measuring(turn, name, agent.measuring.workload, reason)
    _lose_worker(turn, name, reason)


def drain(turn: Turn, name: AgentId, *, undo: bool) -> None:
    """Takes an agent out of service until it is put back, however often it reconnects; ``advance`` does the rest."""
    drained = turn.state.drained
    turn.state = replace(turn.state, drained=drained - {name} if undo else drained | {name})
    for epoch in turn.state.epochs.values():
        # Once it is put back it is somebody new: plans were searched without it.
        weighed, kept = epoch.revision.weighed - {name}, epoch.revision.kept - {name}
        turn.put_epoch(replace(epoch, revision=replace(epoch.revision, weighed=weighed, kept=kept)))


def check_heartbeats(turn: Turn) -> None:
    """Loses every agent that has said nothing for too long."""
    for agent in tuple(turn.state.agents.values()):
        silent_s = turn.now_s - agent.last_heard_s
        if silent_s > turn.limits.heartbeat_timeout_s:
            disconnect(turn, agent.agent, AgentsLostError(f"no sign of life for {silent_s:.1f} s"))
    returning = {name: turn.state.departed[name] for name in turn.state.returning(turn.now_s)}
    if len(returning) < len(turn.state.departed):
        turn.state = replace(turn.state, departed=returning)


def _refusal(turn: Turn, register: Register) -> PolyrhythmError | None:
    if register.protocol_version != PROTOCOL_VERSION:
        return InvalidArgumentError.of(
            "protocol_version",
            f"the coordinator speaks {PROTOCOL_VERSION}, {register.agent} speaks {register.protocol_version}",
        )
    held = turn.state.agents.get(register.agent)
    if held is not None and turn.now_s - held.last_heard_s <= turn.limits.heartbeat_timeout_s:
        return AlreadyInUseError(f"an agent named {register.agent} is connected and alive")
    if held is None and len(turn.state.agents) >= AGENTS_MAX:
        return ResourceExhaustedError(f"{AGENTS_MAX} agents are connected, and no more are taken")
    return None


def _take(turn: Turn, name: AgentId, event: AgentEvent) -> None:
    match event:
        case Heartbeat():
            pass  # that it came was noted
        case WorkerReady():
            _take_worker(turn, name, event)
        case WorkerLost(reason=reason):
            _lose_worker(turn, name, reason)
        case ProfileMeasured():
            take_profile(turn, name, event)
        case TokensCounted():
            take_counts(turn, name, event)
        case RequestFailed(request_id=request_id, detail=detail, violations=violations):
            take_failure(turn, name, request_id, detail, violations)
            give_up_measuring(turn, name, request_id, detail)
        case EpochJoined() | PartLoaded() | StepDone() | BeatDone() | PreviewMade() | ImageMade():
            take_report(turn, name, event)
        case EpochEnded():
            take_end(turn, name, event)
        case StoreRequest():
            _operate_store(turn, name, event)
        case MemoryRead(usable_bytes=usable_bytes):
            turn.put_agent(replace(turn.state.agents[name], usable_bytes=usable_bytes))
        case Register():
            raise WireError(f"register: {name} has already introduced itself")
        case _:
            assert_never(event)


def _take_worker(turn: Turn, name: AgentId, event: WorkerReady) -> None:
    if turn.state.agents[name].worker_ready:
        # Another worker took the place of one whose end was not told.
        _lose_worker(turn, name, "its worker was replaced")
    turn.put_agent(replace(turn.state.agents[name], worker_ready=True, models=event.models, trouble=""))


def _operate_store(turn: Turn, name: AgentId, request: StoreRequest) -> None:
    store = turn.state.stores.get(request.gang)
    if store is None:
        replies = (refuse(name, request),)
    else:
        store, replies = operate(store, name, request)
        turn.state = replace(turn.state, stores={**turn.state.stores, request.gang: store})
    for agent, reply in replies:
        if agent in turn.state.agents:
            turn.send(agent, reply)


def _lose_worker(turn: Turn, name: AgentId, reason: str) -> None:
    """All that a worker held and promised is gone; its agent, if still connected, loads another one."""
    state = turn.state
    agent = state.agents.get(name)
    if agent is not None:
        if agent.measuring is not None:
            died_measuring(turn, name, reason)
        turn.put_agent(
            replace(agent, worker_ready=False, models=(), ceilings_bytes={}, measuring=None, epoch=None, trouble=reason)
        )
    for members in [members for members in state.gangs if name in members]:
        turn.drop_gang(members)
    turn.state = replace(
        turn.state,
        stores={gang: store.without(name) for gang, store in turn.state.stores.items()},
        holders={job: agents - {name} for job, agents in turn.state.holders.items()},
    )
    for picture in turn.state.pictures:
        if name in picture.reached:
            turn.put_picture(replace(picture, reached=without(picture.reached, name)))
    blamed = agent is not None and agent.epoch is None and agent.measuring is None
    lose_answers(turn, name, f"{name} ({reason})" if blamed else "")
    member_lost(turn, name, reason)
