"""A coordinator and agents on loopback, as child processes that never outlive this one.

Starts the very same executables that people start by hand. There is no in-process path.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Self

from polyrhythm.errors import InternalError, PolyrhythmError
from polyrhythm.fleet import AgentView
from polyrhythm.ids import AgentId
from polyrhythm.model.shipped_models import DEFAULT_MODEL
from polyrhythm_client.client import Client
from polyrhythm_client.local.agent_changes import AgentChange, changes, is_loaded
from polyrhythm_client.local.child import Child, ChildEndedError
from polyrhythm_client.local.layout import AgentLayout
from polyrhythm_client.local.lifeline import Lifeline
from polyrhythm_client.local.logs import FleetLogs
from polyrhythm_client.local.own_agents import NOTHING_SAID, OwnAgents
from polyrhythm_client.local.variables import LOG_LEVEL_VARIABLE, START_ATTEMPTS_VARIABLE

COORDINATOR_READY_S = 30.0
AGENTS_SILENT_S = 150.0
"""How long no agent of a fleet that starts may change its state; each says more of itself in less, or gives up."""
STARTS_MAX = 3
"""Workers of one agent, lost in a row before they were ready, that end it."""
STARTING_POLL_S = 0.05
RUNNING_POLL_S = 0.5
GRACE_S = 3.0
ENDING_S = 1.0
"""How long after a lost connection a process may take to be seen to have ended."""

_HOST = "127.0.0.1"
_READY_LINE = re.compile(r"polyrhythm-coordinator ready on (?P<address>\S+:\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Executables:
    """How the roles are started on this machine: program and first arguments."""

    coordinator: tuple[str, ...] = (sys.executable, "-m", "polyrhythm_coordinator.server")
    agent: tuple[str, ...] = (sys.executable, "-m", "polyrhythm_agent.daemon.main")
    simulator: tuple[str, ...] = (sys.executable, "-m", "polyrhythm_coordinator.simulation")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetLayout:
    """What to start.

    Attributes:
        agents: at least one.
        model: name of one that ships, a path, or a model of the hub.
        port: of the coordinator; 0 for any that is free, None to leave it to the coordinator and its variable.
        own: what the user said about the agents.
    """

    agents: tuple[AgentLayout, ...]
    model: str = DEFAULT_MODEL
    port: int | None = 0
    own: OwnAgents = NOTHING_SAID


class LocalFleet:
    """Runs while the context lasts; all processes are gone when it ends.

    Args:
        layout: what to start.
        executables: how.
        on_coordinator: told of the coordinator's address.
        on_change: told of every agent that stands otherwise than before; while ``watch`` runs, too.
        on_loaded: told how many of the agents hold their model, whenever that changes while the fleet starts.
        logs: keep what all processes say; None not to.
    """

    def __init__(
        self,
        layout: FleetLayout,
        *,
        executables: Executables | None = None,
        on_coordinator: Callable[[str], None] = lambda _: None,
        on_change: Callable[[AgentChange], None] = lambda _: None,
        on_loaded: Callable[[int], None] = lambda _: None,
        logs: FleetLogs | None = None,
    ) -> None:
        self.address = ""
        self._layout = layout
        self._executables = executables or Executables()
        self._on_coordinator = on_coordinator
        self._on_change = on_change
        self._on_loaded = on_loaded
        self._logs = logs
        self._views: dict[AgentId, AgentView] = {}
        self._children: list[Child] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            lifeline = stack.enter_context(Lifeline())
            if self._logs is not None:
                stack.callback(self._logs.close)
            stack.push_async_callback(self._stop_all, lifeline)
            coordinator = await self._start_coordinator(lifeline)
            self._on_coordinator(self.address)
            agents = [await self._start_agent(agent, lifeline) for agent in self._layout.agents]
            await self._unless_ended([coordinator, *agents], self._agents_ready())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the coordinator and the agents, in this order."""
        return tuple(child.pid for child in self._children)

    async def coordinator_end(self) -> ChildEndedError | None:
        """What to say about the coordinator's end; None where it still runs, or does for a moment."""
        try:
            return await asyncio.wait_for(self._children[0].ended(), ENDING_S)
        except TimeoutError:
            return None

    async def watch(self, on_agent_ended: Callable[[ChildEndedError], None]) -> ChildEndedError:
        """Waits until the coordinator or the last agent has ended by itself, and says which.

        Args:
            on_agent_ended: told of every agent that ends while others go on.
        """
        coordinator, *agents = [asyncio.create_task(child.ended()) for child in self._children]
        waiting = {coordinator, *agents}
        following = asyncio.create_task(self._follow_agents())
        try:
            while True:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if coordinator in done:
                    return coordinator.result()
                last = [task.result() for task in done]
                if waiting == {coordinator}:
                    return last[-1]
                for ended in last:
                    on_agent_ended(ended)
        finally:
            following.cancel()
            for task in waiting:
                task.cancel()

    async def _start_coordinator(self, lifeline: Lifeline) -> Child:
        arguments = coordinator_arguments(self._layout.port, logged=self._logs is not None, environment=os.environ)
        child = await self._start("coordinator", (*self._executables.coordinator, *arguments), lifeline, threads=1)
        try:
            async with asyncio.timeout(COORDINATOR_READY_S):
                while (found := _READY_LINE.search(await child.next_line())) is None:
                    pass
        except TimeoutError:
            raise InternalError(f"the coordinator was not ready within {COORDINATOR_READY_S:g} s") from None
        self.address = found["address"]
        return child

    async def _start_agent(self, agent: AgentLayout, lifeline: Lifeline) -> Child:
        arguments = agent_arguments(agent, self.address, self._layout.model, self._layout.own, os.environ)
        command = (*self._executables.agent, *arguments)
        return await self._start(agent.agent, command, lifeline, threads=agent.threads, extra=dict(agent.environment))

    async def _start(
        self,
        name: str,
        command: Sequence[str],
        lifeline: Lifeline,
        *,
        threads: int | None,
        extra: Mapping[str, str] = MappingProxyType({}),
    ) -> Child:
        environment = {**os.environ, **extra}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        fd = lifeline.child_fd
        child = await Child.start(
            name,
            (*command, "--lifeline-fd", str(fd)),
            environment=environment,
            lifeline_fd=fd,
            keep=(lambda _: None) if self._logs is None else self._logs.of(name),
        )
        self._children.append(child)
        return child

    async def _agents_ready(self) -> None:
        """Polls, because the API has no watch; a fleet on loopback answers in a millisecond.

        Raises:
            InternalError: nothing has changed for too long.
        """
        wanted = {agent.agent for agent in self._layout.agents}
        loaded, clock = -1, asyncio.get_running_loop().time
        async with Client(self.address) as client:
            try:
                async with asyncio.timeout(AGENTS_SILENT_S) as patience:
                    while loaded < len(wanted):
                        if self._look(await client.agents()):
                            patience.reschedule(clock() + AGENTS_SILENT_S)
                        now = sum(is_loaded(view) for name, view in self._views.items() if name in wanted)
                        if now != loaded:
                            loaded = now
                            self._on_loaded(loaded)
                        await asyncio.sleep(STARTING_POLL_S)
            except TimeoutError:
                names = ", ".join(sorted(name for name in wanted if not self._is_loaded(name)))
                raise InternalError(f"nothing has changed for {AGENTS_SILENT_S:g} s, not ready: {names}") from None

    def _is_loaded(self, name: AgentId) -> bool:
        return name in self._views and is_loaded(self._views[name])

    async def _follow_agents(self) -> None:
        """Tells what becomes of agents that were ready, for as long as there is a coordinator to ask."""
        async with Client(self.address) as client:
            while True:
                with suppress(PolyrhythmError):  # its end is told by whoever watches the processes
                    self._look(await client.agents())
                await asyncio.sleep(RUNNING_POLL_S)

    def _look(self, views: tuple[AgentView, ...]) -> bool:
        """Tells what has changed; whether anything has."""
        found = changes(self._views, views)
        self._views = {view.agent: view for view in views}
        for change in found:
            self._on_change(change)
        return bool(found)

    async def _unless_ended(self, children: Sequence[Child], work: Coroutine[Any, Any, None]) -> None:
        """Runs some work; gives it up as soon as a child ends.

        Raises:
            ChildEndedError: one did.
        """
        task = asyncio.create_task(work)
        ends = [asyncio.create_task(child.ended()) for child in children]
        try:
            await asyncio.wait([task, *ends], return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                if end.done():
                    raise end.result()
            await task
        finally:
            for each in (task, *ends):
                each.cancel()
            await asyncio.gather(task, *ends, return_exceptions=True)

    async def _stop_all(self, lifeline: Lifeline) -> None:
        # Agents first hear it from the pipe, all at once; what does not leave within the grace is killed.
        lifeline.cut()
        await asyncio.gather(*(child.stop(GRACE_S) for child in self._children))
        self._children.clear()


def coordinator_arguments(port: int | None, *, logged: bool, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Options of ``polyrhythm-coordinator``; what a variable may say as well is left to it.

    Args:
        port: to listen on; None leaves it to the coordinator.
        logged: whether what it says is kept.
        environment: that it is started in.
    """
    options = {
        "--host": _HOST,
        "--port": port,
        "--log-level": None if LOG_LEVEL_VARIABLE in environment else "info" if logged else "warning",
    }
    return tuple(text for option, value in options.items() if value is not None for text in (option, str(value)))


def agent_arguments(
    agent: AgentLayout,
    coordinator: str,
    model: str,
    own: OwnAgents = NOTHING_SAID,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str, ...]:
    """Options of ``polyrhythm-agent`` for one agent; what the user said goes before what a picture was made with.

    Args:
        agent: the one.
        coordinator: address to dial.
        model: to load.
        own: what the user said.
        environment: that it is started in; what only a variable says is left to it.
    """
    said = {name: value for name, value in own.loading_options().items() if value is not None}
    options = {
        "--coordinator": coordinator,
        "--name": agent.agent,
        "--model": model,
        "--start-attempts": None if START_ATTEMPTS_VARIABLE in environment else STARTS_MAX,
        "--device": agent.device,
        "--threads": agent.threads,
        "--pin-core": agent.pin_core,
        "--emulate-speed": agent.emulate_speed,
        "--dtype": agent.dtype,
        **said,
    }
    return tuple(text for option, value in options.items() if value is not None for text in (option, str(value)))
