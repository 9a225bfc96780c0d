"""Strangers that dial a gang's ports and say nothing take no descriptor of a worker, before it has formed and after."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import torch

from polyrhythm.session.rendezvous import StoreOperation
from polyrhythm_agent.errors import TransportError
from polyrhythm_agent.exchange.transports.gloo_door import Door
from polyrhythm_agent.exchange.transports.gloo_group import listen
from polyrhythm_agent.exchange.transports.gloo_sockets import Address, listening_addresses, listening_descriptors
from polyrhythm_agent.exchange.transports.rendezvous import InProcessRendezvous
from polyrhythm_agent.exchange.transports.torch_distributed import GlooTransport, form_gloo_transport

STRANGERS = 300
FORMED_MAX = 100
"""The own sockets of the gang, the kernel's queue, and who comes in the moment in which members connect."""


@pytest.fixture
def strangers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def dial(strangers: ExitStack, address: Address) -> None:
    """Many connections to one port, of which most wait to be taken in."""
    for _ in range(STRANGERS):
        stranger = strangers.enter_context(socket.socket())
        stranger.setblocking(False)
        stranger.connect_ex(address)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def exchange(members: dict[int, GlooTransport]) -> None:
    message = torch.rand(16, 16)
    members[0].send(1, message)
    assert torch.equal(members[1].post_receive(0, torch.empty_like(message)).wait(), message)


def test_strangers_take_no_descriptors_of_a_gang(strangers: ExitStack) -> None:
    rendezvous, members = InProcessRendezvous(), dict[int, GlooTransport]()

    def form(rank: int) -> None:
        members[rank] = form_gloo_transport(rank=rank, size=2, rendezvous=rendezvous, bind_address="127.0.0.1")

    forming = [threading.Thread(target=form, args=(rank,), daemon=True) for rank in range(2)]
    forming[0].start()
    host, port = rendezvous.call(StoreOperation.GET, "listener/0", b"", 0)[0].decode().split()
    before = descriptors()
    dial(strangers, (host, int(port)))  # while the other one has not come
    forming[1].start()
    for thread in forming:
        thread.join(20)
    assert sorted(members) == [0, 1]
    formed = descriptors()
    assert formed - before - STRANGERS < FORMED_MAX
    addresses = listening_addresses()
    for address in addresses:
        dial(strangers, address)
    exchange(members)
    assert descriptors() - formed == STRANGERS * len(addresses), "only the strangers' own ends are in this process"
    exchange(members)
    for member in members.values():
        member.abort()


def test_a_duplicate_of_the_listening_socket_is_not_taken_for_gloos() -> None:
    """Other threads look at descriptors too, and for a moment hold duplicates, which take the lowest numbers."""
    lowest = os.open(os.devnull, os.O_RDONLY)
    _device, address = listen("127.0.0.1", "")
    (descriptor,) = listening_descriptors(address)
    os.close(lowest)
    duplicate = os.dup(descriptor)
    try:
        assert duplicate < descriptor
        door = Door(address)
        door.close()
        door.open()
    finally:
        os.close(duplicate)


def test_a_socket_that_is_not_gloos_has_no_door() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(TransportError, match="no loop of Gloo's"):
        Door(server.getsockname())
    with pytest.raises(TransportError, match="nothing of this process listens"):
        Door(("127.0.0.1", 1))
