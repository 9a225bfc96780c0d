"""Variables of the environment that belong to Polyrhythm: how they are named, and what is none of them.

An option of a daemon may be set as its prefix and the option, ``--memory-limit`` of an agent as
``POLYRHYTHM_AGENT_MEMORY_LIMIT``. What no process knows is refused by name: whoever set it believes that it counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum

from polyrhythm.errors import FieldViolation, InvalidArgumentError

PREFIX = "POLYRHYTHM_"
ADDRESS_VARIABLE = "POLYRHYTHM_ADDRESS"
CACHE_VARIABLE = "POLYRHYTHM_CACHE"
SHARED_VARIABLES = frozenset({ADDRESS_VARIABLE, CACHE_VARIABLE})
"""Variables of no daemon's prefix. All processes know them, since one is started in the environment of another."""


class Daemon(StrEnum):
    """The processes whose options may be set in the environment, by the prefix of their variables."""

    COORDINATOR = "POLYRHYTHM_COORDINATOR_"
    AGENT = "POLYRHYTHM_AGENT_"


def variable_of(daemon: Daemon, option: str) -> str:
    """How an option is set in the environment.

    Args:
        daemon: whose.
        option: as the command line spells it, such as ``--memory-limit``.
    """
    return daemon + option.removeprefix("--").replace("-", "_").upper()


def read_variables(environment: Mapping[str, str], daemon: Daemon, options: Mapping[str, str]) -> dict[str, str]:
    """What the environment says about a daemon's settings, as it is written there.

    Args:
        environment: of the process.
        daemon: who reads.
        options: every setting's option, by the setting's name.

    Returns:
        Values by the setting's name.

    Raises:
        InvalidArgumentError: names every variable that nobody knows.
    """
    variables = {variable_of(daemon, option): name for name, option in options.items()}
    check_variables(environment, daemon, variables)
    return {name: environment[variable] for variable, name in variables.items() if variable in environment}


def check_variables(environment: Mapping[str, str], daemon: Daemon | None = None, own: Iterable[str] = ()) -> None:
    """Refuses what looks like a variable of Polyrhythm and is none.

    Those of another daemon's prefix are left to that daemon, which refuses them itself.

    Args:
        environment: of the process.
        daemon: who asks; None for a process without settings in the environment.
        own: its variables.

    Raises:
        InvalidArgumentError: names every variable that nobody knows.
    """
    known = sorted(SHARED_VARIABLES.union(own))
    others = tuple(each for each in Daemon if each is not daemon)
    unknown = [
        FieldViolation(field=name, description=f"no process of Polyrhythm knows this variable{_meant(name, known)}")
        for name in sorted(environment)
        if name.startswith(PREFIX) and name not in known and not name.startswith(others)
    ]
    if unknown:
        raise InvalidArgumentError(*unknown)


def _meant(name: str, known: Iterable[str]) -> str:
    nearest = get_close_matches(name, [*known, *(f"{daemon}..." for daemon in Daemon)], n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
