"""Measures the links of a gang right after it formed: latency, the rate of a large message, CPU time.

As a synchronous step uses them: both ends send at the same time, through the same threads, until each has what the
other sent. One way alone, from a thread that waits for nothing else, a message is several times faster.

Generic over the transport. Every unordered pair is measured once, pairs in ascending order on every member: a member
takes part in its pairs in that order only, so nobody waits in a circle.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Self

import torch
from torch import Tensor

from polyrhythm.profile import Link
from polyrhythm_agent.exchange.wires import Activation, Named, Wires
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
    small, large = torch.zeros(1, device=device), torch.zeros(_RATE_BYTES, dtype=torch.uint8, device=device)
    with _Handling() as handling:
        latency_s = _exchange_s(wires, peer, small, _PINGS)
        handling.small_done()
        way_s = _exchange_s(wires, peer, large, _RATE_ROUNDS)
    transfer_s = max(way_s - latency_s, way_s / 2)  # noise may make the latency longer than the whole way
    return handling.link(_agreed(wires, peer, [latency_s, _RATE_BYTES / transfer_s], device))


def _agreed(wires: Wires, peer: int, found: list[float], device: torch.device) -> list[float]:
    """What the first of both found, so that a link is the same seen from either end."""
    message = torch.tensor(found, dtype=torch.float64, device=device)
    if wires.rank < peer:
        wires.send(peer, message)
        return found
    key = Named(name="link", broadcast=peer)
    wires.expect(peer, ((key, message),))
    return [float(figure) for figure in wires.take(key)]


def _exchange_s(wires: Wires, peer: int, message: Tensor, rounds: int) -> float:
    """Middle time until the peer's message is there, from handing over the own one; a first one warms both ends up."""
    seconds: list[float] = []
    for index in range(rounds + 1):
        key = Activation(source=peer, version=index, layer=message.numel())
        wires.expect(peer, ((key, torch.empty_like(message)),))
        begin_s = time.perf_counter()
        wires.send(peer, message.clone())
        wires.take(key)
        seconds.append(time.perf_counter() - begin_s)
    return median(seconds[1:])


class _Handling:
    """CPU seconds of all threads of this process while small and then large messages go forth and back."""

    def __enter__(self) -> Self:
        self._begin_s = time.process_time()
        return self

    def small_done(self) -> None:
        self._small_s = time.process_time() - self._begin_s

    def __exit__(self, *error: object) -> None:
        self._large_s = time.process_time() - self._begin_s - self._small_s

    def link(self, found: list[float]) -> Link:
        """The link; a message goes and one comes in every round."""
        handling_s = self._small_s / (2 * (_PINGS + 1))
        large_s = self._large_s / (2 * (_RATE_ROUNDS + 1))
        return Link(
            latency_s=found[0],
            bytes_per_s=found[1],
            handling_s=handling_s,
            handling_s_per_byte=max(0.0, large_s - handling_s) / _RATE_BYTES,
        )
