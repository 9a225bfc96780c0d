"""The command ``polyrhythm-coordinator`` as whoever starts it sees it: one line, signals, lifeline, exit codes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

EVERYWHERE = "0.0.0.0"  # noqa: S104 - it is what must be refused
COMMAND = (sys.executable, "-m", "polyrhythm_coordinator.server")


@asynccontextmanager
async def started(*arguments: str, inherited_fds: tuple[int, ...] = ()) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=PIPE, stderr=PIPE, pass_fds=inherited_fds
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ready_port(process: Process) -> int:
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    found = re.fullmatch(r"polyrhythm-coordinator ready on 127\.0\.0\.1:(\d+)\n", line)
    assert found is not None, line
    return int(found[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_well(number: signal.Signals) -> None:
    async with started("--port", "0") as process:
        await ready_port(process)
        process.send_signal(number)
        out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"")


async def test_it_ends_with_its_lifeline() -> None:
    reading, writing = os.pipe()
    async with started("--port", "0", "--lifeline-fd", str(reading), inherited_fds=(reading,)) as process:
        os.close(reading)
        await ready_port(process)
        os.close(writing)
        await process.wait()
    assert process.returncode == 0


async def test_a_taken_port_is_an_error_that_names_it() -> None:
    async with started("--port", "0") as first:
        port = await ready_port(first)
        async with started("--port", str(port)) as second:
            out, told = await second.communicate()
    assert (second.returncode, out) == (1, b"")
    assert "--port" in told.decode()
    assert "Traceback" not in told.decode()


async def test_a_taken_port_of_a_variable_is_named_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with started("--port", "0") as first:
        monkeypatch.setenv("POLYRHYTHM_COORDINATOR_PORT", str(await ready_port(first)))
        async with started() as second:
            _, told = await second.communicate()
    assert second.returncode == 1
    assert b"\npolyrhythm-coordinator: POLYRHYTHM_COORDINATOR_PORT: 127.0.0.1:" in told


async def test_another_host_is_refused() -> None:
    async with started("--port", "0", "--host", EVERYWHERE) as process:
        out, told = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert told.decode().startswith("polyrhythm-coordinator: --host: ")
    assert told.decode().count("\n") == 1


async def test_a_lifeline_that_is_no_pipe_is_refused() -> None:
    async with started("--port", "0", "--lifeline-fd", "77") as process:
        _, told = await process.communicate()
    assert process.returncode == 2
    assert "--lifeline-fd" in told.decode()
    assert "Traceback" not in told.decode()
