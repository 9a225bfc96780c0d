"""Measures the links of a gang right after it formed: half a round trip, the rate of a large message, CPU time.

Generic over the transport. Every unordered pair is measured once, pairs in ascending order on every member: a member
takes part in its pairs in that order only, so nobody waits in a circle.
"""

from __future__ import annotations

import time
from typing import Self

import torch
from torch import Tensor

from polyrhythm.profile import Link
from polyrhythm_agent.ports import Transport

_HOST = torch.device("cpu")
_PINGS = 9
_RATE_ROUNDS = 3
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
    for first, second in pairs:
        if transport.rank == first:
            links.append((second, _lead(transport, second, device)))
        elif transport.rank == second:
            links.append((first, _follow(transport, first, device)))
    return tuple(sorted(links, key=lambda link: link[0]))


def _lead(transport: Transport, peer: int, device: torch.device) -> Link:
    """Sends each message first and takes the time until it is back; tells the peer what it found."""
    small, large = torch.zeros(1, device=device), torch.zeros(_RATE_BYTES, dtype=torch.uint8, device=device)
    with _Handling() as handling:
        latency_s = _shortest_way_s(transport, peer, small, _PINGS)
        handling.small_done()
        way_s = _shortest_way_s(transport, peer, large, _RATE_ROUNDS)
    transfer_s = max(way_s - latency_s, way_s / 2)  # noise may make the latency longer than the whole way
    found = torch.tensor([latency_s, _RATE_BYTES / transfer_s], dtype=torch.float64, device=device)
    transport.send(peer, found)
    transport.drain()
    return handling.link(found)


def _follow(transport: Transport, peer: int, device: torch.device) -> Link:
    """Sends each message back."""
    small, large = torch.zeros(1, device=device), torch.zeros(_RATE_BYTES, dtype=torch.uint8, device=device)
    with _Handling() as handling:
        _send_back(transport, peer, small, _PINGS)
        handling.small_done()
        _send_back(transport, peer, large, _RATE_ROUNDS)
    return handling.link(transport.post_receive(peer, torch.empty(2, dtype=torch.float64, device=device)).wait())


def _send_back(transport: Transport, peer: int, buffer: Tensor, rounds: int) -> None:
    for _ in range(rounds + 1):
        transport.send(peer, transport.post_receive(peer, buffer.clone()).wait())


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


class _Handling:
    """CPU seconds of all threads of this process while small and then large messages go forth and back."""

    def __enter__(self) -> Self:
        self._begin_s = time.process_time()
        return self

    def small_done(self) -> None:
        self._small_s = time.process_time() - self._begin_s

    def __exit__(self, *error: object) -> None:
        self._large_s = time.process_time() - self._begin_s - self._small_s

    def link(self, found: Tensor) -> Link:
        """The link, from what the leading end found; a message goes and one comes in every round."""
        handling_s = self._small_s / (2 * (_PINGS + 1))
        large_s = self._large_s / (2 * (_RATE_ROUNDS + 1))
        return Link(
            latency_s=float(found[0]),
            bytes_per_s=float(found[1]),
            handling_s=handling_s,
            handling_s_per_byte=max(0.0, large_s - handling_s) / _RATE_BYTES,
        )
