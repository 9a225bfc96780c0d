"""Where a coordinator listens. Owns the default and the check of what a user writes."""

from __future__ import annotations

import re

from polyrhythm.errors import InvalidArgumentError

DEFAULT_ADDRESS = "127.0.0.1:50051"

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")


def check_address(address: str) -> tuple[str, int]:
    """Splits ``host:port``.

    Returns:
        The host without brackets, and the port.

    Raises:
        InvalidArgumentError: it is something else.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or not 1 <= int(found["port"]) <= 65535:
        raise InvalidArgumentError.of("address", f"must be HOST:PORT, such as {DEFAULT_ADDRESS}, got {address!r}")
    return found["host"].strip("[]"), int(found["port"])
