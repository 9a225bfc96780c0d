"""The transport over torch.distributed's Gloo: one group for data, one for control records, no default process group.

Owns forming, ordering a pair's sends on a thread each, waking blocked waits on abort, and the translation of Gloo's
errors. Knows no plan. Groups are objects of their own, so that several gangs may live in one process and be kept.

Gloo checks no sizes: a message longer than its receive ends the process, a shorter one leaves the rest of the buffer as
it was. Both ends derive sizes from the same plan; the in-process transport, which does check, proves that they agree.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from polyrhythm.plan.profile import Link
from polyrhythm.session.rendezvous import StoreOperation
from polyrhythm_agent.errors import TransportError
from polyrhythm_agent.exchange.links import measure_links
from polyrhythm_agent.exchange.sender import PeerSender
from polyrhythm_agent.exchange.transports.connecting import connected
from polyrhythm_agent.exchange.transports.gloo_door import Door
from polyrhythm_agent.exchange.transports.gloo_group import Group, connect, listen
from polyrhythm_agent.exchange.transports.gloo_sockets import Address, connected_sockets, shut_down
from polyrhythm_agent.exchange.transports.rendezvous import RendezvousClient, RendezvousStore
from polyrhythm_agent.exchange.transports.staging import Incoming, Outgoing
from polyrhythm_agent.ports.transport import Receipt

_NO_TIMEOUT = timedelta(days=1)
"""Deadlines are the coordinator's, which aborts; a time-out of Gloo would only break a pair that is merely slow."""

_CONNECT_TIMEOUT = timedelta(seconds=5)
"""To connect to members that have all just been there. Gloo tries several times, so one that died in between takes a
multiple of it; nobody waits for that (``connecting``)."""

_ABORTED = "the transport was aborted"
_GROUPS = ("data", "control")


def form_gloo_transport(
    *, rank: int, size: int, rendezvous: RendezvousClient, bind_address: str = "", interface: str = ""
) -> GlooTransport:
    """Connects the members of a gang; all of them call it together.

    Args:
        rank: this member.
        size: members.
        rendezvous: the gang's dictionary, empty before.
        bind_address: address of the network interface that carries the messages, or
        interface: its name.

    Raises:
        EpochAbortedError: the rendezvous was aborted.
        TransportError: a member did not come, or the address is none of this host.
    """
    device, own = listen(bind_address, interface)
    door = Door(own)
    door.close()  # the others may take long to come, and strangers are not to fill the wait
    peers = _exchange_addresses(rank, size, own, rendezvous)
    door.open()

    def connect_group(name: str) -> Group:
        return connect(RendezvousStore(rendezvous, prefix=f"{name}/"), rank, size, device, _CONNECT_TIMEOUT)

    try:
        data, control = connected(rank, rendezvous, lambda: [connect_group(name) for name in _GROUPS])
    finally:
        door.close()
    sockets = connected_sockets(own, peers)
    if len(sockets) < len(_GROUPS) * (size - 1):
        shut_down(sockets)
        raise TransportError(f"only {len(sockets)} sockets of {size} members were found; abort would not work")
    return GlooTransport(rank=rank, size=size, data=data, control=control, sockets=sockets)


class GlooTransport:
    """One member's end of a gang; implements the port ``Transport``. ``abort`` also disposes of it."""

    def __init__(
        self,
        *,
        rank: int,
        size: int,
        data: Group,
        control: Group,
        sockets: list[socket.socket],
    ) -> None:
        self._rank = rank
        self._size = size
        self._data = data
        self._control = control
        self._sockets = sockets
        self._aborting = threading.Lock()
        self._aborted = False
        self._senders = {peer: PeerSender(name=f"send-to-{peer}") for peer in range(size) if peer != rank}

    @property
    def rank(self) -> int:
        """This member."""
        return self._rank

    @property
    def size(self) -> int:
        """Members of the gang."""
        return self._size

    def post_receive(self, source: int, buffer: Tensor) -> Receipt:
        """Posts the next receive from a peer, into a contiguous buffer."""
        incoming = Incoming.of(buffer)
        return _GlooReceipt(self, source, incoming, self._start(source, self._data.recv, incoming.host))

    def send(self, destination: int, message: Tensor) -> None:
        """Hands over the next message to a peer and returns at once; the tensor must not change afterwards."""
        outgoing = Outgoing.of(message)

        def transfer() -> None:
            host = outgoing.on_host()
            self.finish(destination, self._start(destination, self._data.send, host))

        self._senders[destination].submit(transfer)

    def all_gather_record(self, record: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Every member's record, in rank order.

        By messages between all pairs: Gloo's own all-gather takes five milliseconds where these take half a one.
        """
        own = torch.tensor(record, dtype=torch.int64)
        records = {self._rank: own}
        works: list[tuple[int, dist.Work]] = []
        for peer in self._senders:
            records[peer] = torch.empty_like(own)
            works.append((peer, self._start(peer, self._control.recv, records[peer])))
            works.append((peer, self._start(peer, self._control.send, own)))
        for peer, work in works:
            self.finish(peer, work)
        return tuple(tuple(int(value) for value in records[rank]) for rank in range(self._size))

    def probe_links(self) -> tuple[tuple[int, Link], ...]:
        """Measures latency and rate to every peer; all members call it together, once, right after forming."""
        return measure_links(self)

    def abort(self) -> None:
        """Ends every blocked wait at once with TransportError; from any thread, any number of times."""
        with self._aborting:
            self._aborted = True
            shut_down(self._sockets)
        for sender in self._senders.values():
            sender.stop(TransportError(_ABORTED))

    def drain(self) -> None:
        """Blocks until all sends have completed."""
        for sender in self._senders.values():
            sender.drain()

    def finish(self, peer: int, work: dist.Work) -> None:
        """Waits for a message to or from a peer.

        Raises:
            TransportError: the peer is gone or the transport was aborted.
        """
        try:
            work.wait(_NO_TIMEOUT)
        except RuntimeError as error:
            self._translate(peer, error)

    def _start(
        self, peer: int, operation: Callable[[Sequence[Tensor], int, int], dist.Work], host: Tensor
    ) -> dist.Work:
        if self._aborted:
            raise TransportError(_ABORTED)
        try:
            return operation([host], peer, 0)
        except RuntimeError as error:
            self._translate(peer, error)

    def _translate(self, peer: int, error: RuntimeError) -> NoReturn:
        if self._aborted:
            raise TransportError(_ABORTED) from error
        raise TransportError(f"member {peer} is gone") from error


class _GlooReceipt:
    def __init__(self, transport: GlooTransport, source: int, incoming: Incoming, work: dist.Work) -> None:
        self._transport = transport
        self._source = source
        self._incoming = incoming
        self._work = work

    def wait(self) -> Tensor:
        self._transport.finish(self._source, self._work)
        return self._incoming.deliver()


def _exchange_addresses(rank: int, size: int, own: Address, rendezvous: RendezvousClient) -> frozenset[Address]:
    """Publishes the own address and waits for the others', so that Gloo connects members that are all there."""
    rendezvous.call(StoreOperation.SET, f"listener/{rank}", f"{own[0]} {own[1]}".encode(), 0)
    peers: list[Address] = []
    for peer in range(size):
        if peer != rank:
            host, port = rendezvous.call(StoreOperation.GET, f"listener/{peer}", b"", 0)[0].decode().split()
            peers.append((host, int(port)))
    return frozenset(peers)
