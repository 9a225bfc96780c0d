"""The transport over NCCL, for gangs whose members hold different CUDA devices; records go over Gloo.

Owns one group of two ranks for each ordered pair, each on a stream of its own, so that the order of one pair never
waits for another's. Knows no plan. NCCL has neither tags nor a way to notice a dead peer: the order is the plan's, and
waits end through ``abort``. Written to the same contract as the Gloo transport, but needs two devices to be run.

Every pair and direction keeps a kernel waiting on the device while its peer computes; the driver must be able to hold
all of them at once (``CUDA_DEVICE_MAX_CONNECTIONS`` at least twice the members; its default of 8 serves four).
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from polyrhythm.profile import Link
from polyrhythm_agent.errors import TransportError
from polyrhythm_agent.exchange.links import measure_links
from polyrhythm_agent.exchange.rendezvous import RendezvousClient, RendezvousStore
from polyrhythm_agent.exchange.torch_distributed import GlooTransport, form_gloo_transport
from polyrhythm_agent.ports import Receipt

_NO_TIMEOUT = timedelta(days=1)
"""Deadlines are the coordinator's, which aborts; torch's watchdog would end the process."""

_ABORTED = "the transport was aborted"


@dataclass(slots=True)
class _Wire:
    """One direction between this member and a peer: rank 0 of the group sends, rank 1 receives."""

    group: Any
    store: RendezvousStore
    stream: torch.cuda.Stream
    under_way: deque[tuple[torch.cuda.Event, Tensor]] = field(default_factory=deque[tuple[torch.cuda.Event, Tensor]])


def form_nccl_transport(
    *,
    rank: int,
    size: int,
    rendezvous: RendezvousClient,
    device: torch.device,
    bind_address: str = "",
    interface: str = "",
) -> NcclTransport:
    """Connects the members of a gang; all of them call it together.

    Args:
        rank: this member.
        size: members.
        rendezvous: the gang's dictionary, empty before.
        device: of this member; no two members share one.
        bind_address: address of the network interface for the control group, or
        interface: its name.

    Raises:
        EpochAbortedError: the rendezvous was aborted.
        TransportError: a member did not come, or this torch has no NCCL.
    """
    if not dist.is_nccl_available():
        raise TransportError("this build of torch has no NCCL")
    control = form_gloo_transport(
        rank=rank, size=size, rendezvous=rendezvous, bind_address=bind_address, interface=interface
    )
    outgoing: dict[int, _Wire] = {}
    incoming: dict[int, _Wire] = {}
    # Pairs in one order on all members: creating a communicator waits for both of its ends.
    for source in range(size):
        for destination in range(size):
            if source != destination and rank in {source, destination}:
                store = RendezvousStore(rendezvous, prefix=f"nccl/{source}-{destination}/")
                wire = _connect(store, int(rank == destination), device)
                if rank == source:
                    outgoing[destination] = wire
                else:
                    incoming[source] = wire
    return NcclTransport(control=control, device=device, outgoing=outgoing, incoming=incoming)


class NcclTransport:
    """One member's end of a gang; implements the port ``Transport``. ``abort`` also disposes of it."""

    def __init__(
        self,
        *,
        control: GlooTransport,
        device: torch.device,
        outgoing: dict[int, _Wire],
        incoming: dict[int, _Wire],
    ) -> None:
        self._control = control
        self._device = device
        self._outgoing = outgoing
        self._incoming = incoming
        self._aborting = threading.Lock()
        self._aborted = False

    @property
    def rank(self) -> int:
        """This member."""
        return self._control.rank

    @property
    def size(self) -> int:
        """Members of the gang."""
        return self._control.size

    def post_receive(self, source: int, buffer: Tensor) -> Receipt:
        """Posts the next receive from a peer, into a contiguous buffer on the device."""
        self._check()
        wire = self._incoming[source]
        return _NcclReceipt(self, buffer, self._start(wire, wire.group.recv, buffer, 0))

    def send(self, destination: int, message: Tensor) -> None:
        """Hands over the next message to a peer and returns at once; the tensor must not change afterwards."""
        self._check()
        wire = self._outgoing[destination]
        while wire.under_way and wire.under_way[0][0].query():
            wire.under_way.popleft()
        wire.under_way.append((self._start(wire, wire.group.send, message, 1), message))

    def all_gather_record(self, record: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Every member's record, in rank order."""
        return self._control.all_gather_record(record)

    def probe_links(self) -> tuple[tuple[int, Link], ...]:
        """Measures latency and rate to every peer; all members call it together, once, right after forming."""
        return measure_links(self, device=self._device)

    def abort(self) -> None:
        """Ends every blocked wait at once with TransportError; from any thread, any number of times."""
        with self._aborting:
            if self._aborted:
                return
            self._aborted = True
        self._control.abort()
        for wire in (*self._outgoing.values(), *self._incoming.values()):
            wire.group.abort()  # its kernels leave the device, and the events behind them fire

    def drain(self) -> None:
        """Blocks until all sends have completed."""
        for wire in self._outgoing.values():
            while wire.under_way:
                self.finish(wire.under_way.popleft()[0])

    def finish(self, done: torch.cuda.Event) -> None:
        """Blocks until a message has left or arrived.

        Raises:
            TransportError: the transport was aborted.
        """
        done.synchronize()
        self._check()

    def _check(self) -> None:
        if self._aborted:
            raise TransportError(_ABORTED)

    def _start(self, wire: _Wire, operation: Any, tensor: Tensor, peer: int) -> torch.cuda.Event:
        """Starts an operation behind all that the computing stream holds now; the event fires when it is done."""
        wire.stream.wait_stream(torch.cuda.current_stream(self._device))
        done = torch.cuda.Event(blocking=True)
        try:
            with torch.cuda.stream(wire.stream):
                operation([tensor], peer, 0).wait()  # orders the stream behind NCCL's; the host goes on
                done.record(wire.stream)
        except RuntimeError as error:
            raise TransportError(_ABORTED if self._aborted else f"NCCL refused a message: {error}") from error
        return done


class _NcclReceipt:
    def __init__(self, transport: NcclTransport, buffer: Tensor, done: torch.cuda.Event) -> None:
        self._transport = transport
        self._buffer = buffer
        self._done = done

    def wait(self) -> Tensor:
        self._transport.finish(self._done)
        return self._buffer


def _connect(store: RendezvousStore, rank: int, device: torch.device) -> _Wire:
    nccl: Any = dist.ProcessGroupNCCL
    options = nccl.Options()
    options._timeout = _NO_TIMEOUT  # noqa: SLF001  (torch has no public name for it)
    try:
        group = nccl(store, rank, 2, options)
        group.eager_connect_single_device(device)
    except RuntimeError as error:
        raise TransportError(f"the gang could not be connected over NCCL: {error}") from error
    return _Wire(group=group, store=store, stream=torch.cuda.Stream(device))
