"""Where a coordinator listens: the default address, and how an address that is none is refused."""

from __future__ import annotations

import os

from polyrhythm.process.address import require_address
from polyrhythm.process.environment import ADDRESS_VARIABLE

DEFAULT_ADDRESS = "127.0.0.1:50051"


def said_by(address: str) -> str:
    """The name of what gave an address: the variable that holds it, or else the option."""
    return ADDRESS_VARIABLE if os.environ.get(ADDRESS_VARIABLE) == address else "address"


def checked_address(address: str | None) -> str:
    """The address that the user gave, or the default one.

    Raises:
        InvalidArgumentError: it is none; names the option or the variable.
    """
    if address is None:
        return DEFAULT_ADDRESS
    require_address(address, said_by(address))
    return address
