"""The programs of the roles as they are started on this machine: executables and their options. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from polyrhythm_client.local.layout import AgentLayout
from polyrhythm_client.local.variables import LOG_LEVEL_VARIABLE, START_ATTEMPTS_VARIABLE

STARTS_MAX = 3
"""Workers of one agent, lost in a row before they were ready, that end it."""
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Executables:
    """How the roles are started: program and first arguments."""

    coordinator: tuple[str, ...] = (sys.executable, "-m", "polyrhythm_coordinator.server")
    agent: tuple[str, ...] = (sys.executable, "-m", "polyrhythm_agent.daemon.main")
    simulator: tuple[str, ...] = (sys.executable, "-m", "polyrhythm_coordinator.simulation")


INSTALLED = Executables()
"""Those of this installation."""


def spelled(options: Mapping[str, object]) -> tuple[str, ...]:
    """Options of a program, by name: ``--long-name=value``, ``--long-name`` for True, nothing for None and False."""
    return tuple(
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in options.items()
        if value is not None and value is not False
    )


def coordinator_arguments(port: int | None, *, logged: bool, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Options of ``polyrhythm-coordinator``; what a variable may say as well is left to it.

    Args:
        port: to listen on; None leaves it to the coordinator.
        logged: whether what it says is kept.
        environment: that it is started in.
    """
    level = None if LOG_LEVEL_VARIABLE in environment else "info" if logged else "warning"
    return spelled({"host": _HOST, "port": port, "log_level": level})


def agent_arguments(
    agent: AgentLayout,
    coordinator: str,
    model: str,
    loading: Mapping[str, object] = MappingProxyType({}),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str, ...]:
    """Options of ``polyrhythm-agent`` for one agent; what the user said goes before what a picture was made with.

    Args:
        agent: the one.
        coordinator: address to dial.
        model: to load.
        loading: what the user said of how it is loaded; None where nothing was said.
        environment: that it is started in; what only a variable says is left to it.
    """
    return spelled(
        {
            "coordinator": coordinator,
            "name": agent.agent,
            "model": model,
            "start_attempts": None if START_ATTEMPTS_VARIABLE in environment else STARTS_MAX,
            "device": agent.device,
            "threads": agent.threads,
            "pin_core": agent.pin_core,
            "emulate_speed": agent.emulate_speed,
            "dtype": agent.dtype,
            **{name: value for name, value in loading.items() if value is not None},
        }
    )
