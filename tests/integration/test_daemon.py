"""An agent daemon between a coordinator played by hand and worker processes that misbehave on demand."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, suppress
from dataclasses import replace
from typing import TextIO

import psutil
import pytest
import structlog

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import EpochId
from polyrhythm.process.log_setup import log_to_stderr
from polyrhythm.session.commands import AbortEpoch
from polyrhythm.session.events import (
    AgentEvent,
    EpochEnded,
    EpochJoined,
    EpochOutcome,
    Register,
    StepDone,
    TokensCounted,
    WorkerLost,
    WorkerReady,
)
from polyrhythm_agent.daemon.interpreter import Interpreter
from polyrhythm_agent.daemon.rules.signals import CoordinatorConnected
from polyrhythm_agent.daemon.rules.state import initial
from polyrhythm_agent.daemon.worker_process import WorkerProcess
from polyrhythm_agent.errors import WorkerStartError
from tests.fakes.agent_service import WAIT_S, FakeAgentService, serving
from tests.worlds.running_agent import (
    AGENT,
    EPOCH,
    FAKE_WORKER,
    LIMITS,
    in_epoch,
    parts_of,
    ready_session,
    running,
    start_epoch,
    tell,
    worker_processes,
)

# --- the way of a message ----------------------------------------------------------------------------------------


async def test_it_registers_announces_its_worker_and_beats() -> None:
    service = FakeAgentService()
    async with serving(service) as port, running(parts_of(port)) as agent:
        session = await ready_session(service)
        beats = [await asyncio.wait_for(session.heartbeats.get(), WAIT_S) for _ in range(3)]
        assert [beat.sequence for beat in beats] == [1, 2, 3]
        await agent.end()
        await asyncio.wait_for(session.ended.wait(), WAIT_S)


async def test_steps_are_thinned_out_and_never_overtaken() -> None:
    service = FakeAgentService()
    async with serving(service) as port, running(parts_of(port)):
        session = await in_epoch(service)
        session.say(tell("steps 100", "end"))
        steps: list[int] = []
        while isinstance(event := await asyncio.wait_for(session.events.get(), WAIT_S), StepDone):
            steps.append(event.step)
        assert isinstance(event, EpochEnded)
        assert steps == sorted(steps)
        assert steps[-1] == 100
        assert len(steps) < 50
        await session.hear(TokensCounted)


# --- workers that misbehave --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("crash", "the worker ended: signal SIGKILL"),
        ("freeze", "no heartbeat of the worker for 0.4 s"),
        ("nonsense", "the worker ended: it sent nonsense"),
    ],
)
async def test_a_lost_worker_is_told_and_replaced(text: str, reason: str) -> None:
    service = FakeAgentService()
    async with serving(service) as port, running(parts_of(port)):
        session = await in_epoch(service)
        session.say(tell(text))
        assert (await session.hear(WorkerLost)).reason.startswith(reason)
        await session.hear(WorkerReady)
        session.say(start_epoch(EpochId(incarnation=1, counter=2)))
        await session.hear(EpochJoined)


async def test_a_mute_worker_is_lost() -> None:
    service = FakeAgentService()
    async with serving(service) as port, running(parts_of(port, "--mute")):
        session = await ready_session(service)
        assert (await session.hear(WorkerLost)).reason.startswith("no heartbeat")


async def test_an_aborted_worker_leaves_the_epoch() -> None:
    service = FakeAgentService()
    async with serving(service) as port, running(parts_of(port)):
        session = await in_epoch(service)
        session.say(AbortEpoch(epoch=EPOCH, reason="b is lost"))
        assert (await session.hear(EpochEnded)).outcome is EpochOutcome.ABORTED


async def test_a_worker_that_is_deaf_to_an_abort_is_killed() -> None:
    service = FakeAgentService()
    async with serving(service) as port, running(parts_of(port, "--deaf")):
        session = await in_epoch(service)
        session.say(AbortEpoch(epoch=EPOCH, reason="b is lost"))
        assert "did not leave epoch 1.1" in (await session.hear(WorkerLost)).reason
        await session.hear(WorkerReady)


async def test_a_worker_that_cannot_start_is_told_with_its_exit_code() -> None:
    service = FakeAgentService()
    async with serving(service) as port, running(parts_of(port, "--exit", "4")):
        session = await service.next_session()
        await session.hear(Register)
        assert (await session.hear(WorkerLost)).reason == "the worker ended: exit code 4"


async def test_the_last_words_of_a_worker_that_cannot_start_are_told_and_passed_on() -> None:
    service, heard = FakeAgentService(), io.StringIO()
    with redirect_stderr(heard):
        async with serving(service) as port, running(parts_of(port, "--exit", "1", "--say", "no such folder")):
            session = await service.next_session()
            await session.hear(Register)
            reason = (await session.hear(WorkerLost)).reason
    assert reason == "the worker ended: exit code 1; it said:\nno such folder"
    assert "no such folder\n" in heard.getvalue()


async def test_what_a_worker_said_before_it_was_killed_is_not_taken_for_the_reason() -> None:
    service = FakeAgentService()
    async with serving(service) as port, running(parts_of(port, "--say", "model loaded")):
        session = await in_epoch(service)
        session.say(tell("crash"))
        assert (await session.hear(WorkerLost)).reason == "the worker ended: signal SIGKILL"


async def test_three_workers_that_cannot_start_end_an_agent_that_is_to_give_up() -> None:
    service, limits = FakeAgentService(), replace(LIMITS, starts_max=3)
    fails = ("--exit", "1", "--say", "no such folder")
    async with serving(service) as port, running(parts_of(port, *fails, limits=limits)) as agent:
        told = (
            "3 workers in a row were lost before they were ready; the last one: "
            "the worker ended: exit code 1; it said:\nno such folder"
        )
        with pytest.raises(WorkerStartError) as caught:
            await asyncio.wait_for(agent.task, WAIT_S)
        assert str(caught.value) == told


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--exit", "3"), "its own words are above"),
        (("--exit", "3", "--last-words", "a part is missing"), "a part is missing"),
        (("--stubborn", "--never-ready", "--last-words", "a part is missing"), "a part is missing"),
    ],
)
async def test_a_model_that_the_worker_cannot_load_ends_the_agent(options: tuple[str, ...], reason: str) -> None:
    service = FakeAgentService()
    async with serving(service) as port, running(parts_of(port, *options)) as agent:
        with pytest.raises(InvalidArgumentError, match=f"^--model: the worker cannot load the model: {reason}$"):
            await asyncio.wait_for(agent.task, WAIT_S)


async def test_a_worker_that_never_gets_ready_is_killed() -> None:
    service = FakeAgentService()
    parts = parts_of(0, "--never-ready", limits=replace(LIMITS, start_s=0.5))
    async with serving(service) as port, running(replace(parts, coordinator=f"127.0.0.1:{port}")):
        session = await service.next_session()
        await session.hear(Register)
        assert (await session.hear(WorkerLost)).reason == "the worker did not get on with loading for 0.5 s"


async def test_a_worker_that_hangs_up_and_stays_is_killed() -> None:
    service = FakeAgentService()
    async with serving(service) as port, running(parts_of(port, "--hang-up", "--stubborn")):
        session = await service.next_session()
        await session.hear(Register)
        reason = "the worker ended: it closed its channel and did not end within 2 s"
        assert (await session.hear(WorkerLost)).reason == reason


async def test_an_error_of_the_oversight_passes_for_no_end_of_the_worker() -> None:
    async def start() -> WorkerProcess:
        return await WorkerProcess.start((sys.executable, str(FAKE_WORKER)), environment=os.environ, pin_core=None)

    def send_up(event: AgentEvent) -> None:
        raise ZeroDivisionError("a bug")

    now_s = asyncio.get_running_loop().time()
    interpreter = Interpreter(state=initial(AGENT, LIMITS, now_s), start_worker=start, send_up=send_up)
    running = asyncio.create_task(interpreter.run())
    await asyncio.sleep(0)
    interpreter.handle(CoordinatorConnected())
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await asyncio.wait_for(running, WAIT_S)
    await interpreter.stop(1.0)
    assert worker_processes() == []


async def test_an_error_in_handling_an_event_is_told_at_once() -> None:
    process = await WorkerProcess.start((sys.executable, str(FAKE_WORKER)), environment=os.environ, pin_core=None)
    failed_s: list[float] = []
    clock = asyncio.get_running_loop().time

    def fail(event: AgentEvent) -> None:
        failed_s.append(clock())
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        await asyncio.wait_for(process.listen(fail, leave_s=10.0), WAIT_S)
    assert clock() - failed_s[0] < 1.5  # not the patience with a worker that leaves
    assert worker_processes() == []


async def test_an_executable_that_is_missing_is_told() -> None:
    service = FakeAgentService()
    async with serving(service) as port, running(parts_of(port, worker_command=("/nowhere/python",))):
        session = await service.next_session()
        await session.hear(Register)
        assert "/nowhere/python cannot be started" in (await session.hear(WorkerLost)).reason


@pytest.mark.parametrize("option", ["--child", "--stubborn"])
async def test_nothing_of_a_worker_outlives_its_agent(option: str) -> None:
    service = FakeAgentService()
    async with serving(service) as port, running(parts_of(port, option)) as agent:
        await ready_session(service)
        processes = psutil.Process().children(recursive=True)
        assert len(processes) == (2 if option == "--child" else 1)
        await agent.end()
        _, alive = psutil.wait_procs(processes, timeout=WAIT_S)
        assert alive == []


@pytest.fixture
def unread() -> Iterator[TextIO]:
    """A stream whose reader has died; this process logs as a daemon does."""
    reading_fd, writing_fd = os.pipe()
    os.close(reading_fd)
    stream = os.fdopen(writing_fd, "w", buffering=1)
    before = structlog.get_config()
    log_to_stderr(agent=AGENT)
    yield stream
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()
    with suppress(BrokenPipeError):  # what it could not write it tries again
        stream.close()


async def test_a_log_that_nobody_takes_ends_nothing(unread: TextIO) -> None:
    service = FakeAgentService()
    with redirect_stderr(unread):
        async with serving(service) as port, running(parts_of(port)) as agent:
            session = await in_epoch(service)
            session.say(tell("crash"))
            await session.hear(WorkerLost)
            await session.hear(WorkerReady)
            session.close()
            await ready_session(service)
            await agent.end()
