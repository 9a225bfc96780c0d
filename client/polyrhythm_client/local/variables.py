"""What the daemons' variables mean to a fleet that a command starts. Pure.

Its processes are started in the environment of the command, so they count there as anywhere, for all that the command
leaves to the processes. What it decides itself, so that they find and do not disturb each other, would lose silently
against it: those are refused by name, with what to say instead.
"""

from __future__ import annotations

from collections.abc import Mapping

from polyrhythm.errors import FieldViolation, InvalidArgumentError
from polyrhythm.process.environment import Daemon, variable_of

MODEL_VARIABLE = variable_of(Daemon.AGENT, "--model")
PORT_VARIABLE = variable_of(Daemon.COORDINATOR, "--port")
LOG_LEVEL_VARIABLE = variable_of(Daemon.COORDINATOR, "--log-level")
START_ATTEMPTS_VARIABLE = variable_of(Daemon.AGENT, "--start-attempts")

_BY_HAND = "or start polyrhythm-agent by hand"
_ONE_A_PROCESS = "is another one for each process that a command starts: leave it out"
_SHARED_OUT = f"a command shares the cores out among its agents: leave it out, {_BY_HAND}"
_DECIDED_OF_AGENTS: Mapping[str, str] = {
    "--coordinator": (
        "agents of a fleet that a command starts dial its own coordinator: leave it out, or name a fleet by --address"
    ),
    "--name": f"agents of a fleet that a command starts are numbered: leave it out, {_BY_HAND}",
    "--device": f"use --gpus for some of the CUDA devices, --speeds for the CPU, {_BY_HAND}",
    "--threads": _SHARED_OUT,
    "--pin-core": _SHARED_OUT,
    "--emulate-speed": "use --speeds, which names a speed for each agent",
    "--lifeline-fd": _ONE_A_PROCESS,
}
_DECIDED_OF_THE_COORDINATOR: Mapping[str, str] = {
    "--host": (
        "a fleet that a command starts listens on 127.0.0.1: leave it out, or start polyrhythm-coordinator by hand"
    ),
    "--lifeline-fd": _ONE_A_PROCESS,
}
_DECIDED: Mapping[str, str] = {
    variable_of(daemon, option): instead
    for daemon, options in ((Daemon.AGENT, _DECIDED_OF_AGENTS), (Daemon.COORDINATOR, _DECIDED_OF_THE_COORDINATOR))
    for option, instead in options.items()
}
_OF_UP = {
    PORT_VARIABLE: (
        "a fleet of this command's own listens on any free port: leave it out, or name by --address the fleet of "
        "polyrhythm up, which listens on this one"
    )
}


def check_daemon_variables(environment: Mapping[str, str], *, own_port: bool) -> None:
    """Refuses variables that would have no effect on a fleet that a command starts.

    Args:
        environment: of this process.
        own_port: whether the fleet's port is the command's own business, and not the user's.

    Raises:
        InvalidArgumentError: names each, and what to say instead.
    """
    decided = {**_DECIDED, **(_OF_UP if own_port else {})}
    found = [FieldViolation(field=name, description=why) for name, why in decided.items() if name in environment]
    if found:
        raise InvalidArgumentError(*found)
