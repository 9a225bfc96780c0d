"""A transport between threads of one process, with the strictest semantics: FIFO an ordered pair, rendezvous, no tags.

For tests of plans and of the step loop: a message of the wrong shape, a receive that no send answers or an order that
differs between the two ends shows here as an error or as a wait that never ends, as it would on devices.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from polyrhythm.plan.profile import Link
from polyrhythm_agent.errors import TransportError
from polyrhythm_agent.exchange.links import measure_links

Pair = tuple[int, int]
"""Ordered pair of ranks: from, to."""

Delay = Callable[[Pair, int], float]
"""Seconds that the message of an ordered pair with this number spends on its way, from the match to the arrival."""


@dataclass(slots=True, eq=False)
class _Posted:
    buffer: Tensor
    done: bool = False


@dataclass(slots=True)
class _Channel:
    sends: deque[Tensor] = field(default_factory=deque[Tensor])
    receives: deque[_Posted] = field(default_factory=deque[_Posted])
    messages: int = 0
    on_its_way: bool = False
    error: str | None = None


@dataclass(slots=True)
class _Round:
    records: dict[int, tuple[int, ...]] = field(default_factory=dict[int, tuple[int, ...]])
    readers: int = 0


def no_delay(_pair: Pair, _index: int) -> float:
    """Every message arrives when it is matched."""
    return 0.0


class InProcessNetwork:
    """The wires between the members of one gang. One lock for all: made for correctness, not for speed."""

    def __init__(self, size: int, *, delay_s: Delay = no_delay) -> None:
        self.size = size
        self._delay_s = delay_s
        self._changed = threading.Condition()
        self._channels = {(i, j): _Channel() for i in range(size) for j in range(size) if i != j}
        self._gone: set[int] = set()
        self._rounds: dict[int, _Round] = {}

    def transport(self, rank: int) -> InProcessTransport:
        """The end of one member."""
        return InProcessTransport(self, rank)

    def pending(self) -> dict[Pair, tuple[int, int]]:
        """Sends and receives of each pair that have not met yet; pairs without any are left out."""
        with self._changed:
            counts = {pair: (len(c.sends), len(c.receives)) for pair, c in self._channels.items()}
        return {pair: count for pair, count in counts.items() if count != (0, 0)}

    def send(self, pair: Pair, message: Tensor) -> None:
        """Queues a message; it stays with the sender until its receive is posted."""
        with self._changed:
            self._check(pair, by=pair[0])
            self._channels[pair].sends.append(message)
            self._match(pair)

    def post(self, pair: Pair, buffer: Tensor) -> _Posted:
        """Queues a receive."""
        with self._changed:
            self._check(pair, by=pair[1])
            posted = _Posted(buffer=buffer)
            self._channels[pair].receives.append(posted)
            self._match(pair)
            return posted

    def wait(self, pair: Pair, posted: _Posted) -> Tensor:
        """Blocks until a posted receive has its message."""
        with self._changed:
            while not posted.done:
                self._check(pair, by=pair[1])
                self._changed.wait()
            return posted.buffer

    def drain(self, rank: int) -> None:
        """Blocks until every message of a member has arrived."""
        with self._changed:
            for pair, channel in self._channels.items():
                while pair[0] == rank and channel.sends:
                    self._check(pair, by=rank)
                    self._changed.wait()

    def gather(self, rank: int, index: int, record: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Blocks until every member has given its record of this round."""
        with self._changed:
            held = self._rounds.setdefault(index, _Round())
            records = held.records
            records[rank] = record
            self._changed.notify_all()
            while len(records) < self.size:
                self._check_present(rank, set(range(self.size)) - records.keys())
                self._changed.wait()
            held.readers += 1
            if held.readers == self.size:
                del self._rounds[index]
            return tuple(records[member] for member in range(self.size))

    def leave(self, rank: int) -> None:
        """A member aborts: its waits, and those for it, end."""
        with self._changed:
            self._gone.add(rank)
            self._changed.notify_all()

    def _check(self, pair: Pair, *, by: int) -> None:
        self._check_present(by, set(pair) - {by})
        error = self._channels[pair].error
        if error is not None:
            raise TransportError(error)

    def _check_present(self, rank: int, peers: set[int]) -> None:
        if rank in self._gone:
            raise TransportError("the transport was aborted")
        if peers & self._gone:
            raise TransportError(f"member {min(peers & self._gone)} is gone")

    def _match(self, pair: Pair) -> None:
        """Starts the next message of a pair on its way, if both ends are there; the caller holds the lock."""
        channel = self._channels[pair]
        while channel.sends and channel.receives and not channel.on_its_way:
            delay_s = self._delay_s(pair, channel.messages)
            channel.messages += 1
            if delay_s > 0:
                channel.on_its_way = True
                timer = threading.Timer(delay_s, self._arrive, (pair,))
                timer.daemon = True
                timer.start()
            else:
                self._deliver(pair)

    def _arrive(self, pair: Pair) -> None:
        with self._changed:
            self._channels[pair].on_its_way = False
            if not self._gone & set(pair):
                self._deliver(pair)
                self._match(pair)

    def _deliver(self, pair: Pair) -> None:
        channel = self._channels[pair]
        message, posted = channel.sends[0], channel.receives[0]
        if message.shape != posted.buffer.shape or message.dtype != posted.buffer.dtype:
            channel.error = (
                f"message {channel.messages - 1} of {pair} is {tuple(message.shape)} {message.dtype}, "
                f"its receive is {tuple(posted.buffer.shape)} {posted.buffer.dtype}"
            )
            channel.on_its_way = True  # nothing follows a message that did not fit
        else:
            with torch.inference_mode():  # buffers made in inference mode may be written to in no other
                posted.buffer.copy_(message)
            posted.done = True
            channel.sends.popleft()
            channel.receives.popleft()
        self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class _InProcessReceipt:
    network: InProcessNetwork
    pair: Pair
    posted: _Posted

    def wait(self) -> Tensor:
        return self.network.wait(self.pair, self.posted)


class InProcessTransport:
    """One member's end of an in-process network; implements the port ``Transport``."""

    def __init__(self, network: InProcessNetwork, rank: int) -> None:
        self._network = network
        self._rank = rank
        self._rounds = 0

    @property
    def rank(self) -> int:
        """This member."""
        return self._rank

    @property
    def size(self) -> int:
        """Members of the gang."""
        return self._network.size

    def post_receive(self, source: int, buffer: Tensor) -> _InProcessReceipt:
        """Posts the next receive from a peer, into a contiguous buffer."""
        pair = (source, self._rank)
        return _InProcessReceipt(self._network, pair, self._network.post(pair, buffer))

    def send(self, destination: int, message: Tensor) -> None:
        """Hands over the next message to a peer and returns at once."""
        self._network.send((self._rank, destination), message)

    def all_gather_record(self, record: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Every member's record, in rank order."""
        index, self._rounds = self._rounds, self._rounds + 1
        return self._network.gather(self._rank, index, record)

    def probe_links(self) -> tuple[tuple[int, Link], ...]:
        """Measures latency and rate to every peer; all members call it together."""
        return measure_links(self)

    def abort(self) -> None:
        """Ends every blocked wait of this member, and those of others for it."""
        self._network.leave(self._rank)

    def drain(self) -> None:
        """Blocks until all sends have completed."""
        self._network.drain(self._rank)
