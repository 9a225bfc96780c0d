"""Agents come, load, speak and go. Owns the registry; what a loss means for a picture is in ``epochs``."""

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
from polyrhythm.session.commands import Welcome
from polyrhythm.session.events import (
    PROTOCOL_VERSION,
    AgentReport,
    BeatDone,
    EpochEnded,
    EpochJoined,
    Heartbeat,
    MemoryRead,
    PartLoaded,
    ProfileMeasured,
    Register,
    RequestFailed,
    StepDone,
    TokensCounted,
    WorkerLost,
    WorkerReady,
)
from polyrhythm.session.rendezvous import StoreRequest
from polyrhythm_coordinator.scheduling.epochs.ending import member_lost, take_end
from polyrhythm_coordinator.scheduling.epochs.progress import take_report
from polyrhythm_coordinator.scheduling.fleet.profiles import take_profile
from polyrhythm_coordinator.scheduling.queue.admission import lose_answers, take_counts, take_failure
from polyrhythm_coordinator.scheduling.queue.measurements import died_measuring, give_up_measuring, gone_measuring
from polyrhythm_coordinator.scheduling.state.effects import DisconnectAgent
from polyrhythm_coordinator.scheduling.state.events import (
    AgentConnected,
    AgentEventReceived,
    ImagePartReceived,
    PreviewReceived,
    SessionId,
)
from polyrhythm_coordinator.scheduling.state.rendezvous_store import operate, refuse
from polyrhythm_coordinator.scheduling.state.state import Agent, Departure
from polyrhythm_coordinator.scheduling.state.transaction import Transaction, without


def connect(tx: Transaction, event: AgentConnected) -> None:
    """Welcomes an agent, or refuses it: another protocol, a name whose holder is alive, or one agent too many."""
    register, session = event.register, event.session
    error = _refusal(tx, register)
    if error is not None:
        tx.emit(DisconnectAgent(agent=register.agent, session=session, error=error))
        return
    if register.agent in tx.state.agents:
        disconnect(tx, register.agent, AgentsLostError("said nothing for too long and came back"))
    tx.state = replace(tx.state, departed=without(tx.state.departed, register.agent))
    tx.put_agent(
        Agent(
            agent=register.agent,
            session=session,
            device=register.device,
            software=register.software,
            last_heard_s=tx.now_s,
            usable_bytes=usable_at_first(register.device),
        )
    )
    welcome = Welcome(incarnation=tx.state.incarnation, heartbeat_interval_s=tx.limits.heartbeat_interval_s)
    tx.send(register.agent, welcome)


def usable_at_first(device: DeviceFacts) -> int:
    """What an agent may use, as far as it has said when it registers: its worker holds nothing yet."""
    limit_bytes = device.memory_limit_bytes
    return device.memory_free_bytes if limit_bytes is None else min(limit_bytes, device.memory_free_bytes)


def receive(tx: Transaction, event: AgentEventReceived) -> None:
    """Takes an agent's message; one that cannot be true costs the agent its stream."""
    agent = tx.state.agents.get(event.agent)
    if agent is None or agent.session != event.session:
        return
    tx.put_agent(replace(agent, last_heard_s=tx.now_s))
    try:
        _take(tx, event.agent, event.event)
    except WireError as error:
        disconnect(tx, event.agent, error)


def disconnect(tx: Transaction, name: AgentId, error: PolyrhythmError) -> None:
    """Ends an agent's stream and counts it as lost."""
    session = tx.state.agents[name].session
    tx.emit(DisconnectAgent(agent=name, session=session, error=error))
    lose(tx, name, session, str(error))


def lose(tx: Transaction, name: AgentId, session: SessionId, reason: str) -> None:
    """An agent's stream is over."""
    agent = tx.state.agents.get(name)
    if agent is None or agent.session != session:
        return
    departure = Departure(at_s=tx.now_s, models=agent.models)
    departed = {**tx.state.departed, name: departure}
    tx.state = replace(tx.state, agents=without(tx.state.agents, name), departed=departed)
    if agent.measuring is not None:
        gone_measuring(tx, name, agent.measuring.workload, reason)
    _lose_worker(tx, name, reason)


def drain(tx: Transaction, name: AgentId, *, undo: bool) -> None:
    """Takes an agent out of service until it is put back, however often it reconnects; ``advance`` does the rest."""
    drained = tx.state.drained
    tx.state = replace(tx.state, drained=drained - {name} if undo else drained | {name})
    for epoch in tx.state.epochs.values():
        # Once it is put back it is somebody new: plans were searched without it.
        weighed, kept = epoch.replan.weighed - {name}, epoch.replan.kept - {name}
        tx.put_epoch(replace(epoch, replan=replace(epoch.replan, weighed=weighed, kept=kept)))


def check_heartbeats(tx: Transaction) -> None:
    """Loses every agent that has said nothing for too long."""
    for agent in tuple(tx.state.agents.values()):
        silent_s = tx.now_s - agent.last_heard_s
        if silent_s > tx.limits.heartbeat_timeout_s:
            disconnect(tx, agent.agent, AgentsLostError(f"no sign of life for {silent_s:.1f} s"))
    returning = {name: tx.state.departed[name] for name in tx.state.returning(tx.now_s)}
    if len(returning) < len(tx.state.departed):
        tx.state = replace(tx.state, departed=returning)


def _refusal(tx: Transaction, register: Register) -> PolyrhythmError | None:
    if register.protocol_version != PROTOCOL_VERSION:
        return InvalidArgumentError.of(
            "protocol_version",
            f"the coordinator speaks {PROTOCOL_VERSION}, {register.agent} speaks {register.protocol_version}",
        )
    held = tx.state.agents.get(register.agent)
    if held is not None and tx.now_s - held.last_heard_s <= tx.limits.heartbeat_timeout_s:
        return AlreadyInUseError(f"an agent named {register.agent} is connected and alive")
    if held is None and len(tx.state.agents) >= AGENTS_MAX:
        return ResourceExhaustedError(f"{AGENTS_MAX} agents are connected, and no more are taken")
    return None


def _take(tx: Transaction, name: AgentId, event: AgentReport | PreviewReceived | ImagePartReceived) -> None:
    match event:
        case Heartbeat():
            pass  # that it came was noted
        case WorkerReady():
            _take_worker(tx, name, event)
        case WorkerLost(reason=reason):
            _lose_worker(tx, name, reason)
        case ProfileMeasured():
            take_profile(tx, name, event)
        case TokensCounted():
            take_counts(tx, name, event)
        case RequestFailed(request_id=request_id, message=message, violations=violations):
            take_failure(tx, name, request_id, message, violations)
            give_up_measuring(tx, name, request_id, message)
        case EpochJoined() | PartLoaded() | StepDone() | BeatDone() | PreviewReceived() | ImagePartReceived():
            take_report(tx, name, event)
        case EpochEnded():
            take_end(tx, name, event)
        case StoreRequest():
            _operate_store(tx, name, event)
        case MemoryRead(usable_bytes=usable_bytes):
            tx.put_agent(replace(tx.state.agents[name], usable_bytes=usable_bytes))
        case Register():
            raise WireError(f"register: {name} has already introduced itself")
        case _:
            assert_never(event)


def _take_worker(tx: Transaction, name: AgentId, event: WorkerReady) -> None:
    if tx.state.agents[name].worker_ready:
        # Another worker took the place of one whose end was not told.
        _lose_worker(tx, name, "its worker was replaced")
    tx.put_agent(replace(tx.state.agents[name], worker_ready=True, models=event.models, trouble=""))


def _operate_store(tx: Transaction, name: AgentId, request: StoreRequest) -> None:
    store = tx.state.stores.get(request.gang)
    if store is None:
        replies = (refuse(name, request),)
    else:
        store, replies = operate(store, name, request)
        tx.state = replace(tx.state, stores={**tx.state.stores, request.gang: store})
    for agent, reply in replies:
        if agent in tx.state.agents:
            tx.send(agent, reply)


def _lose_worker(tx: Transaction, name: AgentId, reason: str) -> None:
    """All that a worker held and promised is gone; its agent, if still connected, loads another one."""
    state = tx.state
    agent = state.agents.get(name)
    if agent is not None:
        if agent.measuring is not None:
            died_measuring(tx, name, reason)
        tx.put_agent(
            replace(agent, worker_ready=False, models=(), ceilings_bytes={}, measuring=None, epoch=None, trouble=reason)
        )
    for members in [members for members in state.gangs if name in members]:
        tx.drop_gang(members)
    tx.state = replace(
        tx.state,
        stores={gang: store.without(name) for gang, store in tx.state.stores.items()},
        holders={job: agents - {name} for job, agents in tx.state.holders.items()},
    )
    for picture in tx.state.pictures:
        if name in picture.reached:
            tx.put_picture(replace(picture, reached=without(picture.reached, name)))
    blamed = agent is not None and agent.epoch is None and agent.measuring is None
    lose_answers(tx, name, f"{name} ({reason})" if blamed else "")
    member_lost(tx, name, reason)
