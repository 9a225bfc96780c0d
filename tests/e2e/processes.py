"""A fleet of real processes that a test may hurt: the installed executables, their workers, and who is alive."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from polyrhythm.fleet import AgentState, AgentView
from polyrhythm.ids import AgentId
from polyrhythm_client import AsyncClient

BIN = Path(sys.executable).parent
READY_TIMEOUT_S = 180.0
END_TIMEOUT_S = 15.0
TURN_S = 0.06
"""Long against a tick of the scheduler, short against a step."""
SLOW, FAST = AgentId("local-0"), AgentId("local-1")
"""The agents of the fleet that most tests share, by the names that agents of an embedded fleet have."""
_READY_LINE = re.compile(rb"polyrhythm-coordinator ready on (\S+)")


class HurtableFleet:
    """A coordinator and agents on loopback; any process may be killed or stopped, and started again.

    Args:
        log: standard error of all processes.
        agents: by name, each with options of its own; pinned to a core each.
    """

    def __init__(self, log: Path, agents: Mapping[AgentId, Sequence[str]]) -> None:
        self.address = ""
        self._log = log
        self._options = dict(agents)
        self._coordinator: Process | None = None
        self._daemons: dict[AgentId, Process] = {}
        self._started: set[psutil.Process] = set()
        self._workers: set[psutil.Process] = set()
        self._stack = AsyncExitStack()

    @property
    def agents(self) -> tuple[AgentId, ...]:
        """Those that are here, the first ones first."""
        return tuple(self._options)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._end)
            self._coordinator = await self._start("polyrhythm-coordinator", "--port", "0")
            assert self._coordinator.stdout is not None
            line = await asyncio.wait_for(self._coordinator.stdout.readline(), READY_TIMEOUT_S)
            found = _READY_LINE.search(line)
            assert found is not None, line
            self.address = found.group(1).decode()
            for agent in self.agents:
                await self.start_daemon(agent)
            await self.until_ready()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def joined_by(self, others: Mapping[AgentId, Sequence[str]]) -> AsyncGenerator[Self]:
        """Has more agents, all of them ready, for as long as the context is open."""
        self._options |= others
        try:
            for agent in others:
                await self.start_daemon(agent)
            await self.until_ready()
            yield self
        finally:
            leaving = [self._daemons.pop(agent) for agent in others if agent in self._daemons]
            for agent in others:
                del self._options[agent]
            await _ended(leaving, signal.SIGTERM)
        for agent in others:
            await self.until_lost(agent)

    async def start_daemon(self, agent: AgentId) -> None:
        """Starts an agent's daemon; its worker follows."""
        cores = sorted(os.sched_getaffinity(0))
        core = cores[self.agents.index(agent) % len(cores)]
        self._daemons[agent] = await self._start(
            "polyrhythm-agent",
            *("--coordinator", self.address, "--name", agent, "--threads", "1", "--pin-core", str(core)),
            *self._options[agent],
        )

    def daemon(self, agent: AgentId) -> psutil.Process:
        """An agent's daemon."""
        return psutil.Process(self._daemons[agent].pid)

    def worker(self, agent: AgentId) -> psutil.Process:
        """An agent's worker."""
        children = self.daemon(agent).children()
        assert len(children) == 1, children
        self._workers.add(children[0])
        return children[0]

    async def reap_daemon(self, agent: AgentId) -> None:
        """Waits for the end of a daemon that was killed."""
        await asyncio.wait_for(self._daemons[agent].wait(), 5)

    async def until_ready(self) -> tuple[AgentView, ...]:
        """Waits until every agent is ready; polls, since the API has no watch."""
        async with asyncio.timeout(READY_TIMEOUT_S), AsyncClient(self.address) as client:
            while True:
                views = await client.agents()
                ready = {view.name for view in views if view.state is AgentState.READY}
                if ready >= set(self.agents):
                    for agent in self.agents:
                        self.worker(agent)  # remembered, to see later that it has ended
                    return views
                await asyncio.sleep(0.05)

    async def until_lost(self, agent: AgentId) -> None:
        """Waits until the coordinator has lost an agent."""
        async with asyncio.timeout(READY_TIMEOUT_S), AsyncClient(self.address) as client:
            while True:
                if agent not in {view.name for view in await client.agents()}:
                    return
                await asyncio.sleep(0.05)

    def orphans(self) -> list[int]:
        """Workers that this fleet ever had and that no daemon of it has now."""
        current = {child.pid for daemon in self._daemons.values() for child in _children(daemon.pid)}
        return [process.pid for process in self._workers if process.pid not in current and _alive(process)]

    def survivors(self) -> list[int]:
        """Every process of this fleet that is still alive."""
        return [process.pid for process in self._started | self._workers if _alive(process)]

    async def _start(self, program: str, *arguments: str) -> Process:
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                str(BIN / program), *arguments, stdin=DEVNULL, stdout=PIPE, stderr=log
            )
        self._started.add(psutil.Process(process.pid))
        return process

    async def _end(self) -> None:
        await _ended([*self._daemons.values(), *([self._coordinator] if self._coordinator else [])], signal.SIGINT)


async def _ended(processes: Sequence[Process], number: signal.Signals) -> None:
    """Ends processes by a signal, one of those that ask them to; the ones that still ran end well."""
    running = [process for process in processes if process.returncode is None]
    for process in running:
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
    codes = [await asyncio.wait_for(process.wait(), END_TIMEOUT_S) for process in running]
    assert not any(codes), codes


@asynccontextmanager
async def throttled(process: psutil.Process, share: float) -> AsyncGenerator[None]:
    """Lets a process run for a share of the time only, as another one that takes turns on its core would.

    A busy process beside it would take a share that depends on what else the machine does; this one is known.
    """

    async def take_turns() -> None:
        try:
            while True:
                process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(TURN_S * (1.0 - share))
                process.send_signal(signal.SIGCONT)
                await asyncio.sleep(TURN_S * share)
        finally:
            if _alive(process):
                process.send_signal(signal.SIGCONT)

    turns = asyncio.create_task(take_turns())
    try:
        yield
    finally:
        turns.cancel()
        await asyncio.gather(turns, return_exceptions=True)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
