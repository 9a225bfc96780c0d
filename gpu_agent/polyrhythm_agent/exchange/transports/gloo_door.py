"""Whether Gloo takes in connections at its listening socket: only while the members of a gang connect.

Gloo accepts whoever dials, waits for a first word without an end, and keeps the descriptor even after a stranger has
hung up; with none left it ends the process, and so it does if its listening socket is closed or shut down under it.
Its loop is an epoll, however, from which the interest in that one socket can be taken, and given back to it. Strangers
then wait in the kernel's queue, which is short, and cost no descriptor.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import select
import socket
from pathlib import Path

from polyrhythm_agent.errors import TransportError
from polyrhythm_agent.exchange.transports.gloo_sockets import Address, listening_descriptors

_PROCESS = Path("/proc/self")
_EPOLL_CTL_MOD = 3
_WATCHED = re.compile(r"tfd:\s*(\d+)\s+events:\s*([0-9a-f]+)\s+data:\s*([0-9a-f]+)")
_BACKLOG = 16
"""Members that dial at the same time; others dial again within a second."""
_libc = ctypes.CDLL(None, use_errno=True)


class _EpollEvent(ctypes.Structure):
    """``struct epoll_event``, which is packed on x86-64 only."""

    _pack_ = 1 if platform.machine() == "x86_64" else 0
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


class Door:
    """The listening socket of one device of Gloo; open at first.

    Args:
        address: where it listens.

    Raises:
        TransportError: nothing of this process listens there, or no epoll waits for it.
    """

    def __init__(self, address: Address) -> None:
        self._listening, self._epoll, self._events, self._data = _watch_of(listening_descriptors(address))
        with socket.socket(fileno=os.dup(self._listening)) as listening:
            listening.listen(_BACKLOG)

    def open(self) -> None:
        """Lets connections in, those that wait first."""
        self._watch_for(self._events)

    def close(self) -> None:
        """Lets nobody in any more; who is in stays."""
        self._watch_for(0)

    def _watch_for(self, events: int) -> None:
        event = _EpollEvent(events, self._data)
        if _libc.epoll_ctl(self._epoll, _EPOLL_CTL_MOD, self._listening, ctypes.byref(event)) != 0:
            raise TransportError(f"Gloo's listening socket cannot be held back: {os.strerror(ctypes.get_errno())}")


def _watch_of(descriptors: frozenset[int]) -> tuple[int, int, int, int]:
    """Which of some descriptors an epoll waits for, that epoll, for what it waits, and what it is told then.

    Raises:
        TransportError: none does.
    """
    for entry in list((_PROCESS / "fd").iterdir()):
        try:
            if str(entry.readlink()) != "anon_inode:[eventpoll]":
                continue
            told = (_PROCESS / "fdinfo" / entry.name).read_text(encoding="ascii")
        except OSError:  # closed since the listing
            continue
        for number, events, data in _WATCHED.findall(told):
            if int(number) in descriptors and int(events, 16) & select.EPOLLIN:
                return int(number), int(entry.name), int(events, 16), int(data, 16)
    raise TransportError("no loop of Gloo's waits for its listening socket; strangers could not be kept out")
