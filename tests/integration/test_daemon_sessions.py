"""An agent daemon whose coordinator goes, comes back, refuses it or never answers."""

from __future__ import annotations

import asyncio
import os

import grpc
import pytest

from polyrhythm.errors import UnreachableError
from polyrhythm.ids import EpochId
from polyrhythm.session.events import EpochJoined
from polyrhythm_agent.errors import RegistrationRefusedError
from tests.fakes.agent_service import WAIT_S, FakeAgentService, serving
from tests.worlds.running_agent import in_epoch, parts_of, ready_session, running, start_epoch


async def test_a_session_that_ends_is_dialled_again_and_its_epoch_left() -> None:
    service = FakeAgentService()
    async with serving(service) as port, running(parts_of(port)):
        first = await in_epoch(service)
        first.close()
        second = await ready_session(service)
        second.say(start_epoch(EpochId(incarnation=1, counter=2)))
        await second.hear(EpochJoined)


async def test_it_finds_a_coordinator_that_was_started_anew() -> None:
    service = FakeAgentService()
    async with serving(service) as port:
        agent = running(parts_of(port))
        await agent.__aenter__()
        await in_epoch(service)
    try:
        again = FakeAgentService()
        async with serving(again, port):
            await ready_session(again)
    finally:
        await agent.__aexit__(None, None, None)


async def test_a_refused_agent_ends_with_a_typed_error() -> None:
    service = FakeAgentService()
    service.refusal = (grpc.StatusCode.ALREADY_EXISTS, "agent 'a' is connected already")
    async with serving(service) as port, running(parts_of(port)) as agent:
        with pytest.raises(RegistrationRefusedError, match="does not take agent 'a': agent 'a' is connected already"):
            await asyncio.wait_for(agent.task, WAIT_S)


async def test_an_error_in_a_session_is_no_refusal() -> None:
    service = FakeAgentService()
    async with serving(service) as port, running(parts_of(port)) as agent:
        session = await ready_session(service)
        session.break_off(grpc.StatusCode.INVALID_ARGUMENT, "step_done.step: 21 is not in (0, 20]")
        await ready_session(service)
        assert not agent.task.done()


async def test_its_own_lingering_session_is_no_refusal() -> None:
    service = FakeAgentService()
    async with serving(service) as port, running(parts_of(port)) as agent:
        session = await ready_session(service)
        service.refusal = (grpc.StatusCode.ALREADY_EXISTS, "agent 'a' is connected already")
        session.close()
        await asyncio.wait_for(service.refused.get(), WAIT_S)
        service.refusal = None
        await ready_session(service)
        assert not agent.task.done()


async def test_a_coordinator_that_never_answers_is_a_typed_error(unused_tcp_port: int) -> None:
    async with running(parts_of(unused_tcp_port, connect_timeout_s=0.2)) as agent:
        with pytest.raises(UnreachableError, match=f"--coordinator: 127.0.0.1:{unused_tcp_port} did not answer"):
            await asyncio.wait_for(agent.task, WAIT_S)


async def test_the_end_of_the_lifeline_is_the_end() -> None:
    service = FakeAgentService()
    theirs, ours = os.pipe()
    async with serving(service) as port, running(parts_of(port, lifeline_fd=theirs)) as agent:
        await ready_session(service)
        os.close(ours)
        await asyncio.wait_for(agent.task, WAIT_S)
