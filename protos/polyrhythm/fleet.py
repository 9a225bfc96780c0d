"""How an agent looks from outside, for listing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from polyrhythm.facts import DeviceFacts, ModelFacts
from polyrhythm.ids import AgentId


class AgentState(StrEnum):
    """Closed set of states of a connected agent."""

    LOADING = "loading"
    READY = "ready"
    WORKING = "working"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """One connected agent with its facts and state."""

    agent: AgentId
    state: AgentState
    device: DeviceFacts
    models: tuple[ModelFacts, ...]
    software: tuple[tuple[str, str], ...]
