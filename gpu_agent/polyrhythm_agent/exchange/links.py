"""Measures the links of a gang right after it formed: latency, the rate of a large message, CPU time.

As a synchronous step uses them: both ends send at the same time, through the same threads, until each has what the
other sent. One way alone, from a thread that waits for nothing else, a message is several times faster.

Generic over the transport. Every unordered pair is measured once, pairs in ascending order on every member: a member
takes part in its pairs in that order only, so nobody waits in a circle.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from polyrhythm.plan.profile import Link
from polyrhythm_agent.exchange.wires import Named, Wires
from polyrhythm_agent.ports.transport import Transport

_HOST = torch.device("cpu")
_PINGS = 25
_RATE_ROUNDS = 5
_RATE_BYTES = 1 << 20


def measure_links(transport: Transport, *, device: torch.device = _HOST) -> tuple[tuple[int, Link], ...]:
    """Latency, rate and this process's CPU time a message to every peer, in rank order; all members call it together.

    The CPU time is all threads' and counts as handling; whether computing loses it depends on where they run.

    Args:
        transport: formed, with no message under way.
        device: where the messages lie.

    Raises:
        TransportError: a peer is gone or the transport was aborted.
    """
    pairs = [(a, b) for a in range(transport.size) for b in range(a + 1, transport.size)]
    links: list[tuple[int, Link]] = []
    wires = Wires(transport)
    try:
        for pair in pairs:
            if transport.rank in pair:
                peer = pair[0] if transport.rank == pair[1] else pair[1]
                links.append((peer, _measured(wires, peer, device)))
        wires.drain()
    finally:
        wires.stop()
    return tuple(sorted(links, key=lambda link: link[0]))


def _measured(wires: Wires, peer: int, device: torch.device) -> Link:
    """The link to one peer; both ends do the same at the same time."""
    small = _exchange(wires, peer, torch.zeros(1, device=device), _PINGS)
    large = _exchange(wires, peer, torch.zeros(_RATE_BYTES, dtype=torch.uint8, device=device), _RATE_ROUNDS)
    transfer_s = max(large.way_s - small.way_s, large.way_s / 2)  # noise may make a latency longer than a whole way
    latency_s, bytes_per_s = _agreed(wires, peer, [small.way_s, _RATE_BYTES / transfer_s], device)
    return Link(
        latency_s=latency_s,
        bytes_per_s=bytes_per_s,
        handling_s=small.handling_s,
        handling_s_per_byte=max(0.0, large.handling_s - small.handling_s) / _RATE_BYTES,
    )


def _agreed(wires: Wires, peer: int, found: list[float], device: torch.device) -> list[float]:
    """What the first of both found, so that a link is the same seen from either end."""
    message = torch.tensor(found, dtype=torch.float64, device=device)
    if wires.rank < peer:
        wires.send(peer, message)
        return found
    key = Named(name="link", broadcast=peer)
    wires.expect(peer, ((key, message),))
    return [float(figure) for figure in wires.take(key)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exchanged:
    """Messages of one size.

    Attributes:
        way_s: seconds until the peer's message is there, from handing over the own one.
        handling_s: CPU seconds of all threads of this process for a message, one way or the other.
    """

    way_s: float
    handling_s: float


def _exchange(wires: Wires, peer: int, message: Tensor, rounds: int) -> _Exchanged:
    """The middle of some rounds, in each of which a message goes and one comes; a first one warms both ends up.

    The middle of the CPU time, too: whatever else this process begins just then would count for every later message.
    """
    ways_s: list[float] = []
    cpu_s: list[float] = []
    for index in range(rounds + 1):
        key = Named(f"probe of {peer}", index)
        wires.expect(peer, ((key, torch.empty_like(message)),))
        begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
        wires.send(peer, message.clone())
        wires.take(key)
        ways_s.append(time.perf_counter() - begin_s)
        cpu_s.append(time.process_time() - begin_cpu_s)
    return _Exchanged(way_s=median(ways_s[1:]), handling_s=median(cpu_s[1:]) / 2)
