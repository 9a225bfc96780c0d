"""Measures the links of a gang right after it formed: half a round trip, and the rate of a large message.

Generic over the transport. Every unordered pair is measured once, pairs in ascending order on every member: a member
takes part in its pairs in that order only, so nobody waits in a circle.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

from polyrhythm.profile import Link
from polyrhythm_agent.ports import Transport

_HOST = torch.device("cpu")
_PINGS = 9
_RATE_ROUNDS = 3
_RATE_BYTES = 1 << 20


def measure_links(transport: Transport, *, device: torch.device = _HOST) -> tuple[tuple[int, Link], ...]:
    """Latency and rate to every peer, in rank order; all members call it together.

    Args:
        transport: formed, with no message under way.
        device: where the messages lie.

    Raises:
        TransportError: a peer is gone or the transport was aborted.
    """
    pairs = [(a, b) for a in range(transport.size) for b in range(a + 1, transport.size)]
    links: list[tuple[int, Link]] = []
    for first, second in pairs:
        if transport.rank == first:
            links.append((second, _lead(transport, second, device)))
        elif transport.rank == second:
            links.append((first, _follow(transport, first, device)))
    return tuple(sorted(links, key=lambda link: link[0]))


def _lead(transport: Transport, peer: int, device: torch.device) -> Link:
    """Sends each message first and takes the time until it is back; tells the peer what it found."""
    latency_s = _shortest_way_s(transport, peer, torch.zeros(1, device=device), _PINGS)
    way_s = _shortest_way_s(transport, peer, torch.zeros(_RATE_BYTES, dtype=torch.uint8, device=device), _RATE_ROUNDS)
    transfer_s = max(way_s - latency_s, way_s / 2)  # noise may make the latency longer than the whole way
    found = torch.tensor([latency_s, _RATE_BYTES / transfer_s], dtype=torch.float64, device=device)
    transport.send(peer, found)
    transport.drain()
    return _link(found)


def _follow(transport: Transport, peer: int, device: torch.device) -> Link:
    """Sends each message back."""
    large = torch.zeros(_RATE_BYTES, dtype=torch.uint8, device=device)
    for buffer, rounds in ((torch.zeros(1, device=device), _PINGS), (large, _RATE_ROUNDS)):
        for _ in range(rounds + 1):
            transport.send(peer, transport.post_receive(peer, buffer.clone()).wait())
    return _link(transport.post_receive(peer, torch.empty(2, dtype=torch.float64, device=device)).wait())


def _shortest_way_s(transport: Transport, peer: int, message: Tensor, rounds: int) -> float:
    """Half the shortest round trip: what else runs on the hosts only lengthens some. A first one warms both ends up."""
    seconds: list[float] = []
    for _ in range(rounds + 1):
        receipt = transport.post_receive(peer, torch.empty_like(message))
        begin_s = time.perf_counter()
        transport.send(peer, message)
        receipt.wait()
        seconds.append(time.perf_counter() - begin_s)
    return min(seconds[1:]) / 2


def _link(found: Tensor) -> Link:
    return Link(latency_s=float(found[0]), bytes_per_s=float(found[1]))
