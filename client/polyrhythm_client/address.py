"""Where a coordinator listens. Owns the default and the words for what a user wrote wrongly."""

from __future__ import annotations

from polyrhythm import address as addresses
from polyrhythm.errors import InvalidArgumentError

DEFAULT_ADDRESS = "127.0.0.1:50051"


def check_address(address: str) -> None:
    """Checks that it is ``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:/PATH``.

    Raises:
        InvalidArgumentError: it is something else.
    """
    try:
        addresses.check_address(address)
    except ValueError as error:
        raise InvalidArgumentError.of("address", f"{error}, got {address!r}") from error
