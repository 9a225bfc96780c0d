"""Changes of agents that come, load, get lost and leave service."""

from __future__ import annotations

from dataclasses import replace

from polyrhythm.fleet import AgentState, AgentView
from polyrhythm_client.local.agent_changes import changes, is_loaded
from tests.fakes.coordinator import AGENTS

FIRST, SECOND = AGENTS
LOADING = replace(FIRST, state=AgentState.LOADING, models=())


def messages(before: tuple[AgentView, ...], now: tuple[AgentView, ...]) -> list[str]:
    return [f"{change.agent} {change.message}" for change in changes({view.name: view for view in before}, now)]


def test_an_agent_comes_loads_and_is_ready() -> None:
    assert messages((), (LOADING,)) == ["local-0 loading the model"]
    assert messages((LOADING,), (FIRST,)) == ["local-0 ready: cpu a processor, model demo"]
    assert messages((), (SECOND,)) == ["local-1 ready: cpu a processor, emulated speed 0.5, model demo"]
    assert (is_loaded(LOADING), is_loaded(FIRST)) == (False, True)


def test_work_is_no_change() -> None:
    working = replace(FIRST, state=AgentState.WORKING)
    assert messages((FIRST,), (working,)) == messages((working,), (FIRST,)) == []


def test_every_worker_that_is_lost_is_told_with_the_reason() -> None:
    once = replace(LOADING, trouble="exit code 1; it said:\nno such folder")
    assert messages((FIRST,), (once,)) == [
        "local-0 lost its worker, and starts another one: exit code 1; it said:\nno such folder"
    ]
    assert messages((once,), (once,)) == []
    assert messages((once,), (replace(once, trouble="signal SIGKILL"),)) == [
        "local-0 lost its worker, and starts another one: signal SIGKILL"
    ]
    (change,) = changes({FIRST.name: FIRST}, (once,))
    assert change.trouble


def test_an_agent_that_goes_or_leaves_service_is_told() -> None:
    assert messages((FIRST, SECOND), (SECOND,)) == ["local-0 lost: it is not connected any more"]
    assert messages((FIRST,), (replace(FIRST, state=AgentState.DRAINED),)) == ["local-0 drained: out of service"]
