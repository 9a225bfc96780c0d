"""Where the coordinator listens. Owns the words for an address that cannot be had."""

from __future__ import annotations

import errno
import socket

from polyrhythm.errors import AlreadyInUseError, InvalidArgumentError


def address_of(host: str, port: int) -> str:
    """Host and port as gRPC and people write them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_address(host: str, port: int) -> None:
    """Tries to listen, and stops at once: gRPC itself says no more than that it failed.

    Raises:
        AlreadyInUseError: the port is taken.
        InvalidArgumentError: the host is none of this machine's, or the port needs more rights.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        match error.errno:
            case errno.EADDRINUSE:
                told = f"--port: {address_of(host, port)} is taken; choose another, or 0 for a free one"
                raise AlreadyInUseError(told) from error
            case errno.EACCES:
                told = f"{port} may not be listened on: {error.strerror}; choose one above 1023"
                raise InvalidArgumentError.of("--port", told) from error
            case _:
                raise InvalidArgumentError.of("--host", f"{host} cannot be listened on: {error.strerror}") from error
