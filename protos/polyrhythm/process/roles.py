"""The roles that an installation may hold, and what to say where one of them is asked for and is not there.

Every installation has the modules of all roles; what one needs of other projects comes with its extra. This module
imports nothing of it, so that a command can say what is missing instead of ending in an import.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from importlib.util import find_spec

from polyrhythm import __version__
from polyrhythm.errors import PolyrhythmError

EXIT_NOT_INSTALLED = 1


class Role(StrEnum):
    """A role by the name of its extra."""

    COORDINATOR = "coordinator"
    AGENT = "agent"
    CLIENT = "client"


NEEDED: Mapping[Role, tuple[str, ...]] = {
    Role.COORDINATOR: ("grpc_health", "grpc_reflection", "numpy", "pydantic"),
    Role.AGENT: (
        *("diffusers", "huggingface_hub", "numpy", "packaging", "PIL", "psutil", "pydantic", "pynvml", "safetensors"),
        *("sentencepiece", "torch", "transformers"),
    ),
    Role.CLIENT: ("pydantic", "rich", "typer"),
}
"""Top-level modules that come with each extra."""


class RoleMissingError(PolyrhythmError):
    """A role is asked for that this installation does not hold."""


def require_roles(what: str, *roles: Role) -> None:
    """Checks that this installation holds some roles.

    Args:
        what: that needs them, as the subject of a sentence.
        roles: that it needs.

    Raises:
        RoleMissingError: one of them is missing; says which, and how to install it.
    """
    absent = {role: [name for name in NEEDED[role] if find_spec(name) is None] for role in roles}
    absent = {role: names for role, names in absent.items() if names}
    if absent:
        listed = ", ".join(sorted({name for names in absent.values() for name in names}))
        named = " and the ".join(absent)
        raise RoleMissingError(
            f"{what} needs the {named}, and this installation lacks {listed}: {how_to_install(*absent)}"
        )


def how_to_install(*extras: str) -> str:
    """What to do for some extras. The project is on no index, so no bare name of it may be given to pip."""
    listed = ",".join(extras)
    return (
        f"pip install '.[{listed}]' in a checkout of Polyrhythm, "
        f"or pip install 'polyrhythm-{__version__}-py3-none-any.whl[{listed}]' where its wheel lies"
    )


def end_unless_installed(program: str, role: Role) -> None:
    """Ends this process with one sentence where the role that it is to play is not installed."""
    try:
        require_roles(program, role)
    except RoleMissingError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(EXIT_NOT_INSTALLED)
