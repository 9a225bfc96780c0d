"""Where a coordinator is dialled and listens, as people write it and gRPC reads it.

Owns the check of an address, and what every channel between our processes is told of the network.
"""

from __future__ import annotations

import re

from polyrhythm.errors import InvalidArgumentError

UNIX = "unix:"
"""What the address of a unix socket begins with; the path follows."""
SOCKET_PATH_BYTES_MAX = 107
"""Of Linux."""

CHANNEL_OPTIONS = (
    # A proxy of the environment (http_proxy) is for the web: it knows no way to a fleet, least of all on loopback.
    ("grpc.enable_http_proxy", 0),
)

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_SOCKET = re.compile(r"unix:/[^\s%?#\0]+")
"""An absolute path, without what would mean something else in a URI."""


def check_address(text: str) -> str:
    """``HOST:PORT``, ``[IPV6]:PORT`` or ``unix:/PATH``.

    Raises:
        ValueError: it is none of them.
    """
    if text.startswith(UNIX):
        check_socket(text)
        return text
    found = _ADDRESS.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= 65535:
        raise ValueError(
            "must be HOST:PORT with a port of 1..65535, such as 127.0.0.1:50051 or [::1]:50051, or unix:/PATH"
        )
    return text


def require_address(text: str, field: str = "address") -> None:
    """The same of a user's words.

    Args:
        text: the address.
        field: what said it.

    Raises:
        InvalidArgumentError: it is none of them; names the field.
    """
    try:
        check_address(text)
    except ValueError as error:
        raise InvalidArgumentError.of(field, f"{error}, got {text!r}") from error


def check_socket(text: str) -> None:
    """The address of a unix socket.

    Raises:
        ValueError: its path is relative, too long, or has characters that are none of an address.
    """
    path = text.removeprefix(UNIX)
    if _SOCKET.fullmatch(text) is None:
        raise ValueError(f"must be unix: and an absolute path without white space, '%', '?' and '#', got {text!r}")
    if len(path.encode("utf-8", errors="surrogateescape")) > SOCKET_PATH_BYTES_MAX:
        raise ValueError(f"a unix socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes, got {path}")
