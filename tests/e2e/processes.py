"""A fleet of real processes that a test may hurt: the installed executables, their workers, and who is alive."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import psutil

from polyrhythm.fleet import AgentState, AgentView
from polyrhythm_client import Client

READY_TIMEOUT_S = 60.0
TURN_S = 0.06
"""Long against a tick of the scheduler, short against a step."""
_READY_LINE = re.compile(rb"polyrhythm-coordinator ready on (\S+)")


class HurtableFleet:
    """A coordinator and emulated agents on loopback; any process may be killed or stopped, and started again.

    Args:
        speeds: one agent each, ``local-0``, ``local-1``, ...; pinned to a core each.
        log: standard error of all processes.
        memory_limits: of some agents, as their option takes it.
        model: that all of them hold.
        dtypes: of some agents, likewise.
        options: more of all agents.
        own_options: more of some agents.
    """

    def __init__(
        self,
        speeds: tuple[float, ...],
        log: Path,
        *,
        memory_limits: Mapping[str, str] = MappingProxyType({}),
        model: str = "demo-transformer",
        dtypes: Mapping[str, str] = MappingProxyType({}),
        options: tuple[str, ...] = (),
        own_options: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> None:
        self.address = ""
        self.agents = tuple(f"local-{index}" for index in range(len(speeds)))
        self._speeds = dict(zip(self.agents, speeds, strict=True))
        self._log = log
        self._memory_limits = memory_limits
        self._model = model
        self._dtypes = dtypes
        self._options = options
        self._own_options = own_options
        self._coordinator: Process | None = None
        self._daemons: dict[str, Process] = {}
        self._started: set[psutil.Process] = set()
        self._workers: set[psutil.Process] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._end)
            self._coordinator = await self._start("polyrhythm_coordinator.server", "--port", "0")
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

    async def start_daemon(self, agent: str) -> None:
        """Starts an agent's daemon; its worker follows."""
        index = self.agents.index(agent)
        cores = sorted(os.sched_getaffinity(0))
        self._daemons[agent] = await self._start(
            "polyrhythm_agent.daemon",
            *("--coordinator", self.address, "--name", agent, "--threads", "1", "--model", self._model),
            *("--pin-core", str(cores[index % len(cores)]), "--emulate-speed", str(self._speeds[agent])),
            *(("--dtype", self._dtypes[agent]) if agent in self._dtypes else ()),
            *(("--memory-limit", self._memory_limits[agent]) if agent in self._memory_limits else ()),
            *self._options,
            *self._own_options.get(agent, ()),
        )

    def daemon(self, agent: str) -> psutil.Process:
        """An agent's daemon."""
        return psutil.Process(self._daemons[agent].pid)

    def worker(self, agent: str) -> psutil.Process:
        """An agent's worker."""
        children = self.daemon(agent).children()
        assert len(children) == 1, children
        self._workers.add(children[0])
        return children[0]

    async def reap_daemon(self, agent: str) -> None:
        """Waits for the end of a daemon that was killed."""
        await asyncio.wait_for(self._daemons[agent].wait(), 5)

    async def until_ready(self) -> tuple[AgentView, ...]:
        """Waits until every agent is ready; polls, since the API has no watch."""
        async with asyncio.timeout(READY_TIMEOUT_S), Client(self.address) as client:
            while True:
                views = await client.agents()
                ready = {view.agent for view in views if view.state is AgentState.READY}
                if ready >= set(self.agents):
                    for agent in self.agents:
                        self.worker(agent)  # remembered, to see later that it has ended
                    return views
                await asyncio.sleep(0.05)

    async def until_lost(self, agent: str) -> None:
        """Waits until the coordinator has lost an agent."""
        async with asyncio.timeout(READY_TIMEOUT_S), Client(self.address) as client:
            while True:
                if agent not in {view.agent for view in await client.agents()}:
                    return
                await asyncio.sleep(0.05)

    def orphans(self) -> list[int]:
        """Workers that this fleet ever had and that no daemon of it has now."""
        current = {child.pid for daemon in self._daemons.values() for child in _children(daemon.pid)}
        return [process.pid for process in self._workers if process.pid not in current and _alive(process)]

    def survivors(self) -> list[int]:
        """Every process of this fleet that is still alive."""
        return [process.pid for process in self._started | self._workers if _alive(process)]

    async def _start(self, module: str, *arguments: str) -> Process:
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", module, *arguments, stdin=DEVNULL, stdout=PIPE, stderr=log
            )
        self._started.add(psutil.Process(process.pid))
        return process

    async def _end(self) -> None:
        processes = [*self._daemons.values(), *([self._coordinator] if self._coordinator else [])]
        for process in processes:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(signal.SIGTERM)
        for process in processes:
            await asyncio.wait_for(process.wait(), 10)


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
