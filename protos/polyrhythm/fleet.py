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
    DRAINING = "draining"
    """Drained, and still a member of a gang; it holds no rows as soon as a plan without it has taken over."""
    DRAINED = "drained"
    """It takes no work until it is put back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """One connected agent with its facts and state."""

    agent: AgentId
    state: AgentState
    device: DeviceFacts
    models: tuple[ModelFacts, ...]
    software: tuple[tuple[str, str], ...]
