# ruff: noqa: INP001 - a script of the images, no package
"""Health check of a container: its coordinator answers, or its agent's coordinator knows it and its worker is there.

A container that measures a model (`polyrhythm-agent calibrate`) belongs to no fleet: it is healthy while that runs.

Asks as the daemon was told, by options or by its environment, so that it follows any port and any name. Exits with 0
when healthy, with 1 and a reason when not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from polyrhythm.errors import PolyrhythmError
from polyrhythm.fleet import AgentState
from polyrhythm_client import Client

COORDINATOR, AGENT = "polyrhythm-coordinator", "polyrhythm-agent"
CALIBRATE, CALIBRATION = "calibrate", "polyrhythm_agent.calibration"
"""An agent that is told the first goes on as the second."""
HEALTHY = frozenset({AgentState.READY, AgentState.WORKING, AgentState.DRAINING, AgentState.DRAINED})
"""A drained agent does what it was told."""
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read here, bound nowhere
"""Where a daemon that listens on all addresses is asked."""


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask.

    Attributes:
        address: of the coordinator.
        agent: that it must know; None to ask for any answer.
    """

    address: str
    agent: str | None


def question(processes: Path, environment: Mapping[str, str]) -> Question | None:
    """What to ask in this container; None where a model is measured.

    Args:
        processes: the folder in which the kernel describes them.
        environment: of the container.

    Raises:
        LookupError: no daemon runs.
        PolyrhythmError: its settings are wrong.
    """
    for folder in sorted(path for path in processes.iterdir() if path.name.isdecimal()):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        except OSError:
            continue  # it has ended
        names = [word.rpartition("/")[2] for word in words]
        if COORDINATOR in names:
            return _of_coordinator(words[names.index(COORDINATOR) + 1 :], environment)
        if CALIBRATION in words:
            return None
        if AGENT in names:
            arguments = words[names.index(AGENT) + 1 :]
            return None if arguments[:1] == [CALIBRATE] else _of_agent(arguments, environment)
    raise LookupError(f"neither {COORDINATOR} nor {AGENT} runs")


def _of_coordinator(arguments: list[str], environment: Mapping[str, str]) -> Question:
    from polyrhythm_coordinator.grpc_api.listening import address_of  # each image holds one of the two roles
    from polyrhythm_coordinator.settings import read_settings

    settings = read_settings(arguments, environment)
    host = settings.host.strip("[]")
    return Question(address_of(ANY_ADDRESS.get(host, host), settings.port), None)


def _of_agent(arguments: list[str], environment: Mapping[str, str]) -> Question:
    from polyrhythm_agent.daemon.command_line import parse_command_line
    from polyrhythm_agent.settings import read_settings

    settings = read_settings(parse_command_line(arguments).options, environment)
    return Question(settings.coordinator, settings.name)


def main(processes: Path = Path("/proc"), environment: Mapping[str, str] = os.environ) -> int:
    """Asks the coordinator."""
    try:
        asked = question(processes, environment)
        if asked is None:
            sys.stdout.write("measures a model\n")
            return 0
        with Client(asked.address) as client:
            states = {str(view.name): view.state for view in client.agents()}
    except (LookupError, PolyrhythmError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if asked.agent is None:
        sys.stdout.write(f"{asked.address}: answers, {len(states)} agents\n")
        return 0
    state = states.get(asked.agent)
    sys.stdout.write(f"{asked.agent}: {'unknown to the coordinator' if state is None else state}\n")
    return 0 if state in HEALTHY else 1


if __name__ == "__main__":
    sys.exit(main())
