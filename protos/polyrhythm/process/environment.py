"""Variables of the environment that belong to Polyrhythm: how they are named, and what is none of them.

An option of a daemon may be set as its prefix and the option, ``--memory-limit`` of an agent as
``POLYRHYTHM_AGENT_MEMORY_LIMIT``. What no process knows is refused by name: whoever set it believes that it counts.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from enum import StrEnum

from polyrhythm.errors import AlreadyInUseError, FieldViolation, InvalidArgumentError

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


def options_of_variables(
    environment: Mapping[str, str], daemon: Daemon, options: Mapping[str, str], given: Collection[str]
) -> frozenset[str]:
    """Options of a daemon whose values the environment decides.

    Args:
        environment: of the process.
        daemon: who reads.
        options: every setting's option, by the setting's name.
        given: names of the settings that the command line decides.

    Raises:
        InvalidArgumentError: names every variable that nobody knows.
    """
    return frozenset(options[name] for name in read_variables(environment, daemon, options) if name not in given)


@contextmanager
def told_by_variables(daemon: Daemon, options: Collection[str]) -> Generator[None]:
    """Names the variable where an error of the body names an option that nobody wrote.

    Args:
        daemon: whose options.
        options: whose values the environment decides.

    Raises:
        InvalidArgumentError: as the body did.
        AlreadyInUseError: likewise.
    """
    variables = {option: variable_of(daemon, option) for option in options}
    try:
        yield
    except InvalidArgumentError as error:
        named = (replace(found, field=variables.get(found.field, found.field)) for found in error.violations)
        raise InvalidArgumentError(*named) from error
    except AlreadyInUseError as error:  # the option, a colon and what is taken
        option, colon, told = str(error).partition(": ")
        raise AlreadyInUseError(f"{variables.get(option, option)}{colon}{told}") from error


def check_variables(environment: Mapping[str, str], daemon: Daemon | None = None, own: Iterable[str] = ()) -> None:
    """Refuses what looks like a variable of Polyrhythm and is none.

    Those of another daemon's prefix are left to that daemon, which alone knows its options and refuses them itself. A
    process that starts none of its kind, such as ``polyrhythm agents``, is changed by none of them, however spelled.

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
