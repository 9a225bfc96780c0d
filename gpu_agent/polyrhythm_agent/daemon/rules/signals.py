"""What a daemon's rules are told, and what they ask for: events in, effects out. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from polyrhythm.session.commands import AgentCommand
from polyrhythm.session.events import AgentEvent

# --- events ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorConnected:
    """A coordinator has welcomed this agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorLost:
    """The session has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandReceived:
    """The coordinator commands."""

    command: AgentCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpoke:
    """The worker reports."""

    event: AgentEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEnded:
    """The worker process is gone and nothing more will be heard of it.

    Attributes:
        message: how it ended, with its last words.
        cannot_load: whether its exit code says that no start can ever load the model.
    """

    message: str
    cannot_load: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePassed:
    """Deadlines are to be looked at; sent every ``TICK_S``."""


TICK_S = 0.2

OversightEvent: TypeAlias = (
    CoordinatorConnected | CoordinatorLost | CommandReceived | WorkerSpoke | WorkerEnded | TimePassed
)

# --- effects -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StartWorker:
    """Start a worker process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KillWorker:
    """End the worker process and its group at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUpModel:
    """End this agent: no worker will ever load its model.

    Attributes:
        reason: why, as far as it is known.
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUpStarting:
    """End this agent: too many of its workers in a row ended before they were ready.

    Attributes:
        reason: how many, and how the last one ended.
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SendUp:
    """Tell the coordinator."""

    event: AgentEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class SendDown:
    """Tell the worker."""

    command: AgentCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Write a line to the log: something happened that an operator should see.

    Attributes:
        text: what.
        alarming: whether it is a warning.
    """

    text: str
    alarming: bool = True


Effect: TypeAlias = StartWorker | KillWorker | GiveUpModel | GiveUpStarting | SendUp | SendDown | Note
