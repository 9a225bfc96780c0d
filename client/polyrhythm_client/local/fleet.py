"""A coordinator and agents on loopback, as child processes that never outlive this one.

Starts the very same executables that people start by hand. There is no in-process path.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import MappingProxyType, TracebackType
from typing import Self

from polyrhythm.errors import InternalError
from polyrhythm_client.local.agent_changes import AgentChange
from polyrhythm_client.local.agent_watch import AgentWatch
from polyrhythm_client.local.child import GRACE_S, Child, ChildEndedError, unless_ended
from polyrhythm_client.local.layout import AgentLayout, FleetLayout
from polyrhythm_client.local.lifeline import Lifeline
from polyrhythm_client.local.logs import FleetLogs
from polyrhythm_client.local.programs import INSTALLED, Executables, agent_arguments, coordinator_arguments

COORDINATOR_READY_S = 30.0
ENDING_S = 1.0
"""How long after a lost connection a process may take to be seen to have ended."""

_READY_LINE = re.compile(r"polyrhythm-coordinator ready on (?P<address>\S+:\d+)")


class LocalFleet:
    """Runs while the context lasts; all processes are gone when it ends.

    Args:
        layout: what to start.
        executables: how.
        on_coordinator: called with the coordinator's address.
        on_change: called with every agent that has changed its state; while ``watch`` runs, too.
        on_loaded: called with how many of the agents hold their model, whenever that changes while the fleet starts.
        logs: keep what all processes say; None not to.
    """

    def __init__(
        self,
        layout: FleetLayout,
        *,
        executables: Executables = INSTALLED,
        on_coordinator: Callable[[str], None] = lambda _: None,
        on_change: Callable[[AgentChange], None] = lambda _: None,
        on_loaded: Callable[[int], None] = lambda _: None,
        logs: FleetLogs | None = None,
    ) -> None:
        self.address = ""
        self._agents = AgentWatch(on_change)
        self._layout = layout
        self._executables = executables
        self._on_coordinator = on_coordinator
        self._on_loaded = on_loaded
        self._logs = logs
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
            names = frozenset(agent.agent for agent in self._layout.agents)
            loading = self._agents.until_loaded(self.address, names, self._on_loaded)
            await unless_ended([coordinator, *agents], loading)
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
        """The error for the coordinator's end; None where it still runs a second later."""
        try:
            return await asyncio.wait_for(self._children[0].ended(), ENDING_S)
        except TimeoutError:
            return None

    async def watch(self, on_agent_ended: Callable[[ChildEndedError], None]) -> ChildEndedError:
        """Waits until the coordinator or the last agent has ended by itself, and says which.

        Args:
            on_agent_ended: called with every agent that ends while others go on.
        """
        coordinator, *agents = [asyncio.create_task(child.ended()) for child in self._children]
        waiting = {coordinator, *agents}
        following = asyncio.create_task(self._agents.follow(self.address))
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
        arguments = agent_arguments(agent, self.address, self._layout.model, self._layout.loading, os.environ)
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

    async def _stop_all(self, lifeline: Lifeline) -> None:
        # Agents first hear it from the pipe, all at once; what does not leave within the grace is killed.
        lifeline.cut()
        await asyncio.gather(*(child.stop(GRACE_S) for child in self._children))
        self._children.clear()
