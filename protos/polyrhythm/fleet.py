"""How an agent looks from outside, for listing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from polyrhythm.ids import AgentId
from polyrhythm.model.facts import DeviceFacts, ModelFacts, SoftwareVersion

AGENTS_MAX = 256
"""Connected to one coordinator at a time, and hence of one plan."""


class AgentState(StrEnum):
    """Closed set of states of a connected agent."""

    LOADING = "loading"
    READY = "ready"
    MEASURING = "measuring"
    """It measures what a picture of a new size costs it."""
    WORKING = "working"
    DRAINING = "draining"
    """Drained, and still a member of a gang; it holds no rows as soon as a plan without it has taken over."""
    DRAINED = "drained"
    """It takes no work until it is put back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """One connected agent with its facts and state.

    Attributes:
        name: unique in the fleet.
        state: what it does.
        device: what it computes on.
        models: what its worker holds; empty while it loads.
        software: versions that decide a picture's bytes.
        trouble: how its last worker was lost, as long as no other one is ready; empty where none was.
    """

    name: AgentId
    state: AgentState
    device: DeviceFacts
    models: tuple[ModelFacts, ...]
    software: tuple[SoftwareVersion, ...]
    trouble: str = ""
