"""Fleets of several agents on one GPU: NVIDIA's MPS gives each of them a percentage of the threads that may be active.

Starts the MPS control program with pipe and log folders of its own and ends it again; changes no clock and no mode of
the device. Messages travel over Gloo.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fleet import PinnedFleet
from latency_study.campaign import OpenFleet, PictureMaker
from latency_study.cases import FEW_VARIANTS, Case, Group

from polyrhythm_client import AsyncClient
from polyrhythm_client.local.fleet import LocalFleet
from polyrhythm_client.local.layout import AgentLayout, FleetLayout, agent_of

CONTROL = "nvidia-cuda-mps-control"
LIST_DEVICES = ("nvidia-smi", "--list-gpus")
DEVICE = "cuda:0"
READY_S = 10.0
POLL_S = 0.1
END_S = 10.0
REASON_CHARACTERS = 200


class MpsUnavailableError(RuntimeError):
    """MPS cannot be had on this machine; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A program that has ended.

    Attributes:
        code: 0 for success.
        output: what it wrote.
    """

    code: int
    output: str


class Running(Protocol):
    """A program that goes on by itself."""

    def exit_code(self) -> int | None:
        """None while it runs."""
        ...

    def end(self, timeout_s: float) -> None:
        """Waits for its end for a time, then ends it."""
        ...


class Programs(Protocol):
    """What is asked of the machine."""

    def has(self, name: str) -> bool:
        """Whether a program is installed."""
        ...

    def run(self, command: Sequence[str], environment: Mapping[str, str], text: str = "") -> Finished:
        """Runs a program to its end, with a text on its standard input."""
        ...

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> Running:
        """Starts a program."""
        ...


class MachinePrograms:
    """The programs of this machine."""

    def has(self, name: str) -> bool:
        """Whether it is on the path."""
        return shutil.which(name) is not None

    def run(self, command: Sequence[str], environment: Mapping[str, str], text: str = "") -> Finished:
        """Runs it; standard error counts as output."""
        done = subprocess.run(
            command, input=text, env={**os.environ, **environment}, check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=END_S,
        )  # fmt: skip
        return Finished(code=done.returncode, output=done.stdout)

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> Running:
        """Starts it without a terminal."""
        quiet = subprocess.DEVNULL
        return _Child(
            subprocess.Popen(command, env={**os.environ, **environment}, stdin=quiet, stdout=quiet, stderr=quiet)
        )


class _Child:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def exit_code(self) -> int | None:
        return self._process.poll()

    def end(self, timeout_s: float) -> None:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def mps_cases(percentages: Sequence[int], model: str) -> tuple[Case, ...]:
    """The case of one GPU that is divided so.

    Args:
        percentages: of its threads, the largest first.
        model: name or folder.
    """
    speeds = tuple(percentage / 100 for percentage in percentages)
    return (Case(group=Group.GANGS, speeds=speeds, model=model, emulated=False, variants=FEW_VARIANTS),)


def mps_layout(speeds: Sequence[float], environment: Mapping[str, str]) -> tuple[AgentLayout, ...]:
    """One agent a share, all on one GPU.

    Args:
        speeds: shares of its threads.
        environment: that leads to the MPS control program.
    """
    return tuple(
        AgentLayout(
            agent=agent_of(index),
            device=DEVICE,
            environment=(*environment.items(), ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", str(round(100 * speed)))),
        )
        for index, speed in enumerate(speeds)
    )


@asynccontextmanager
async def mps_control(programs: Programs, folder: Path) -> AsyncIterator[Mapping[str, str]]:
    """Runs the MPS control program; gives the variables by which clients find it.

    Args:
        programs: of the machine.
        folder: for its pipes and logs, empty.

    Raises:
        MpsUnavailableError: there is no GPU, no such program, or it does not answer.
    """
    _check(programs)
    environment = _folders(folder)
    control = programs.start((CONTROL, "-f"), environment)
    try:
        await _until_answered(programs, control, environment)
        yield environment
    finally:
        if control.exit_code() is None:
            programs.run((CONTROL,), environment, "quit\n")
        control.end(END_S)


def _folders(folder: Path) -> dict[str, str]:
    environment = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipes"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "logs")}
    for path in environment.values():
        Path(path).mkdir()
    return environment


def _check(programs: Programs) -> None:
    if not programs.has(LIST_DEVICES[0]):
        raise MpsUnavailableError(f"no NVIDIA driver: {LIST_DEVICES[0]} is not installed")
    listed = programs.run(LIST_DEVICES, {})
    if listed.code != 0 or "GPU" not in listed.output:
        raise MpsUnavailableError(f"no GPU: {listed.output.strip()[:REASON_CHARACTERS] or 'the driver lists none'}")
    if not programs.has(CONTROL):
        raise MpsUnavailableError(f"no MPS: {CONTROL} is not installed")


async def _until_answered(programs: Programs, control: Running, environment: Mapping[str, str]) -> None:
    """Asks until it answers: the program has no other sign of being ready."""
    said = ""
    for _ in range(round(READY_S / POLL_S)):
        if (code := control.exit_code()) is not None:
            raise MpsUnavailableError(f"no MPS: {CONTROL} ended at once with exit code {code}")
        answer = programs.run((CONTROL,), environment, "get_default_active_thread_percentage\n")
        if answer.code == 0:
            return
        said = answer.output.strip()[:REASON_CHARACTERS]
        await asyncio.sleep(POLL_S)
    raise MpsUnavailableError(f"no MPS: {CONTROL} did not answer within {READY_S:g} s: {said}")


def open_mps_fleet(programs: Programs | None = None) -> OpenFleet:
    """Starts fleets that share the first GPU.

    Args:
        programs: of the machine; this one's if None.
    """

    @asynccontextmanager
    async def open_fleet(case: Case) -> AsyncIterator[PictureMaker]:
        with tempfile.TemporaryDirectory(prefix="mps-") as folder:
            async with mps_control(programs or MachinePrograms(), Path(folder)) as environment:
                agents = mps_layout(case.speeds, environment)
                layout = FleetLayout(agents=agents, model=case.model)
                async with LocalFleet(layout) as fleet, AsyncClient(fleet.address) as client:
                    yield PinnedFleet(client, fleet.pids)

    return open_fleet
