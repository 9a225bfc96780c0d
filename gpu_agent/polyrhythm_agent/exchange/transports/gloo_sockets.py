"""The TCP sockets of one Gloo transport, so that it can be ended.

Gloo offers no way to wake a blocked wait: in torch 2.13 ``Work`` has no abort in Python, ``ProcessGroupGloo.abort`` and
``shutdown`` leave waits blocked until their time-out, and a time-out takes minutes or breaks healthy pairs. A peer that
dies, however, ends all waits for it within milliseconds, since its sockets close. Shutting down our own ends of the
sockets has that effect on both sides. They are found by address among the process's descriptors: an accepted one
carries the address of the own listening socket, a dialled one that of a peer's.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from polyrhythm_agent.errors import TransportError

_DESCRIPTORS = Path("/proc/self/fd")

Address = tuple[str, int]
"""Host and port."""


def listening_addresses() -> frozenset[Address]:
    """Where TCP sockets of this process listen."""
    found: set[Address] = set()
    for copy in _tcp_sockets():
        with closing(copy):
            if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.add(_address(copy.getsockname()))
    return frozenset(found)


def listening_descriptors(address: Address) -> frozenset[int]:
    """All descriptors that listen at an address: Gloo's, and duplicates that other threads' looks hold at this moment.

    Raises:
        TransportError: there is none.
    """
    found: set[int] = set()
    for entry in list(_DESCRIPTORS.iterdir()):
        try:
            if not str(entry.readlink()).startswith("socket:"):
                continue
            copy = socket.socket(fileno=os.dup(int(entry.name)))
        except OSError:  # closed, or another kind of file, since the listing
            continue
        with closing(copy):
            if copy.family in {socket.AF_INET, socket.AF_INET6} and copy.type == socket.SOCK_STREAM:
                listens = copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if listens and _address(copy.getsockname()) == address:
                    found.add(int(entry.name))
    if not found:
        raise TransportError(f"nothing of this process listens at {address[0]}:{address[1]}")
    return frozenset(found)


def connected_sockets(own: Address, peers: frozenset[Address]) -> list[socket.socket]:
    """Duplicates of all connected sockets that were accepted at ``own`` or dialled to one of ``peers``.

    A duplicate, since Gloo may close its descriptor and the number may then name something else.
    """
    found: list[socket.socket] = []
    for copy in _tcp_sockets():
        try:
            theirs = _address(copy.getpeername())
        except OSError:  # not connected
            copy.close()
            continue
        if theirs in peers or _address(copy.getsockname()) == own:
            found.append(copy)
        else:
            copy.close()
    return found


def shut_down(sockets: list[socket.socket]) -> None:
    """Ends the connections for both sides and closes the duplicates."""
    for connection in sockets:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # the peer has gone already
            pass
        finally:
            connection.close()
    sockets.clear()


def _tcp_sockets() -> Iterator[socket.socket]:
    """One duplicate of each TCP socket, for the caller to close.

    One duplicate serves every look: other threads may close a descriptor at any moment and reuse its number. Our own
    duplicates take numbers of the listing too (that of the listing itself, for one), so a socket is known by its inode.
    """
    seen: set[int] = set()
    for entry in list(_DESCRIPTORS.iterdir()):
        try:
            if not str(entry.readlink()).startswith("socket:"):
                continue
            copy = socket.socket(fileno=os.dup(int(entry.name)))
        except OSError:  # closed, or another kind of file, since the listing
            continue
        inode = os.fstat(copy.fileno()).st_ino
        if copy.family in {socket.AF_INET, socket.AF_INET6} and copy.type == socket.SOCK_STREAM and inode not in seen:
            seen.add(inode)
            yield copy
        else:
            copy.close()


def _address(name: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    return name[0], name[1]
