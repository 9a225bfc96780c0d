"""Gloo devices and groups without a default process group; where torch's annotations of Gloo end, ours begin.

Owns the calls that torch annotates in part or not at all.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NewType, Protocol

import torch.distributed as dist
from torch import Tensor

from polyrhythm_agent.errors import TransportError
from polyrhythm_agent.exchange.transports.gloo_sockets import Address, listening_addresses
from polyrhythm_agent.exchange.transports.rendezvous import RendezvousStore

Device = NewType("Device", object)
"""A listening socket and the thread that moves Gloo's bytes."""

_gloo: Any = dist.ProcessGroupGloo
_creating_device = threading.Lock()


class Group(Protocol):
    """Messages between the members of one group; FIFO an ordered pair for one tag."""

    def send(self, tensors: Sequence[Tensor], rank: int, tag: int, /) -> dist.Work:
        """Starts a send; the tensors must live until it is done."""
        ...

    def recv(self, tensors: Sequence[Tensor], rank: int, tag: int, /) -> dist.Work:
        """Posts a receive."""
        ...


def listen(bind_address: str, interface: str) -> tuple[Device, Address]:
    """A new device and the address at which it listens.

    Raises:
        TransportError: the address is none of this host.
    """
    with _creating_device:
        before = listening_addresses()
        try:
            device = _gloo.create_device(hostname=bind_address, interface=interface)
        except RuntimeError as error:
            raise TransportError(f"cannot listen at {bind_address or interface}: {error}") from error
        opened = listening_addresses() - before
    if len(opened) != 1:
        raise TransportError(f"expected one new listening socket, found {sorted(opened)}; abort would not work")
    (address,) = opened
    return Device(device), address


def connect(store: RendezvousStore, rank: int, size: int, device: Device, timeout: timedelta) -> Group:
    """A group of all members over a device; they call it together.

    Args:
        store: where members find one another.
        rank: this member.
        size: members.
        device: from ``listen``.
        timeout: to connect, and for waits that name no other.

    Raises:
        TransportError: a member did not come in time.
    """
    options = _gloo._Options()  # noqa: SLF001  (torch has no public name for the only way to hand over a device)
    options._devices = [device]  # noqa: SLF001
    options._threads = 1  # noqa: SLF001  (they run collectives, of which there are none)
    options._timeout = timeout  # noqa: SLF001
    try:
        return _gloo(store, rank, size, options)
    except RuntimeError as error:
        raise TransportError(f"the gang could not be connected: {error}") from error
