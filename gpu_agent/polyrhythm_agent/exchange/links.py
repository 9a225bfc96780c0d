"""Measures the links of a gang right after it formed: half a round trip, and the rate of a large message.

Generic over the transport. Every unordered pair is measured once, pairs in ascending order on every member: a member
takes part in its pairs in that order only, so nobody waits in a circle.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from polyrhythm.profile import Link
from polyrhythm_agent.ports import Transport

_PINGS = 9
_RATE_ROUNDS = 3
_RATE_BYTES = 1 << 20
_MIN_TRANSFER_S = 1e-9


def measure_links(transport: Transport) -> tuple[tuple[int, Link], ...]:
    """Latency and rate to every peer, in rank order; all members call it together.

    Raises:
        TransportError: a peer is gone or the transport was aborted.
    """
    pairs = [(a, b) for a in range(transport.size) for b in range(a + 1, transport.size)]
    links: list[tuple[int, Link]] = []
    for first, second in pairs:
        if transport.rank == first:
            links.append((second, _lead(transport, second)))
        elif transport.rank == second:
            links.append((first, _follow(transport, first)))
    return tuple(sorted(links, key=lambda link: link[0]))


def _lead(transport: Transport, peer: int) -> Link:
    """Sends each message first and takes the time until it is back; tells the peer what it found."""
    latency_s = statistics.median(_round_trips_s(transport, peer, torch.zeros(1), _PINGS)) / 2
    large = torch.zeros(_RATE_BYTES, dtype=torch.uint8)
    transfer_s = statistics.median(_round_trips_s(transport, peer, large, _RATE_ROUNDS)) / 2 - latency_s
    found = torch.tensor([latency_s, _RATE_BYTES / max(transfer_s, _MIN_TRANSFER_S)], dtype=torch.float64)
    transport.send(peer, found)
    transport.drain()
    return _link(found)


def _follow(transport: Transport, peer: int) -> Link:
    """Sends each message back."""
    large = torch.zeros(_RATE_BYTES, dtype=torch.uint8)
    for buffer, rounds in ((torch.zeros(1), _PINGS), (large, _RATE_ROUNDS)):
        for _ in range(rounds + 1):
            transport.send(peer, transport.post_receive(peer, buffer.clone()).wait())
    return _link(transport.post_receive(peer, torch.empty(2, dtype=torch.float64)).wait())


def _round_trips_s(transport: Transport, peer: int, message: Tensor, rounds: int) -> list[float]:
    """Seconds of each round trip; a first one, not counted, warms both ends up."""
    seconds: list[float] = []
    for _ in range(rounds + 1):
        receipt = transport.post_receive(peer, torch.empty_like(message))
        begin_s = time.perf_counter()
        transport.send(peer, message)
        receipt.wait()
        seconds.append(time.perf_counter() - begin_s)
    return seconds[1:]


def _link(found: Tensor) -> Link:
    return Link(latency_s=float(found[0]), bytes_per_s=float(found[1]))
