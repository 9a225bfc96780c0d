"""Where the coordinator listens. Owns the words for an address that cannot be had."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from polyrhythm.errors import AlreadyInUseError, InvalidArgumentError
from polyrhythm.process.address import UNIX, check_socket


def address_of(host: str, port: int) -> str:
    """Host and port, or a unix socket, as gRPC and people write them."""
    if host.startswith(UNIX):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def try_listening(host: str, port: int) -> None:
    """Tries to listen, and stops at once: gRPC itself says no more than that it failed.

    Raises:
        AlreadyInUseError: port or socket is taken.
        InvalidArgumentError: the host is none of this machine's, the port needs more rights, or the socket cannot be
            made.
    """
    if host.startswith(UNIX):
        _check_socket(host)
        return
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


def _check_socket(address: str) -> None:
    """GRPC takes away whatever lies at the path, also a socket that somebody listens on."""
    try:
        check_socket(address)
    except ValueError as error:
        raise InvalidArgumentError.of("--host", str(error)) from error
    path = Path(address.removeprefix(UNIX))
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InvalidArgumentError.of("--host", f"no socket can be made in {path.parent}")
    if not path.exists():
        return
    if not path.is_socket():
        raise InvalidArgumentError.of("--host", f"{path} is there and no socket")
    with socket.socket(socket.AF_UNIX) as trial:
        try:
            trial.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return  # left behind by one that is gone
        except OSError as error:
            raise InvalidArgumentError.of("--host", f"{path} belongs to somebody else: {error.strerror}") from error
    raise AlreadyInUseError(f"--host: {address} is taken; choose another")
