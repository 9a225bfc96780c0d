"""One member's messages of one epoch: sends counted, receives delivered into one mailbox, one error for all threads.

Owns the receiving threads and what happens when a transport fails. Knows no plan: order and keys are given.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from polyrhythm.errors import PolyrhythmError
from polyrhythm.ids import LayerId
from polyrhythm_agent.errors import TransportError
from polyrhythm_agent.exchange.mailbox import Mailbox
from polyrhythm_agent.exchange.receiver import PeerReceiver
from polyrhythm_agent.ports.transport import Transport


@dataclass(frozen=True, slots=True)
class Activation:
    """One layer's message of one version; ``source`` is a rank."""

    source: int
    version: int
    layer: LayerId


@dataclass(frozen=True, slots=True)
class BoundaryRows:
    """A member's rows of the state at a boundary."""

    source: int
    step: int


@dataclass(frozen=True, slots=True)
class Named:
    """A tensor of a broadcast; ``broadcast`` counts them within the epoch."""

    name: str
    broadcast: int


Key: TypeAlias = Activation | BoundaryRows | Named


class Wires:
    """What a member sends to and receives from its peers. One thread calls everything but ``fail``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._mailbox: Mailbox[Key] = Mailbox()
        self._peers = tuple(peer for peer in range(transport.size) if peer != transport.rank)
        self._receivers = {
            peer: PeerReceiver(source=peer, transport=transport, mailbox=self._mailbox, fail=self.fail)
            for peer in self._peers
        }
        self._sent_bytes = 0
        self._control_wait_s = 0.0

    @property
    def rank(self) -> int:
        """This member."""
        return self._transport.rank

    @property
    def peers(self) -> tuple[int, ...]:
        """All other members."""
        return self._peers

    @property
    def sent_bytes(self) -> int:
        """Payload handed to the transport so far."""
        return self._sent_bytes

    @property
    def wait_s(self) -> float:
        """Seconds that the calling thread has been blocked so far."""
        return self._mailbox.waited_s + self._control_wait_s

    @property
    def held_entries(self) -> int:
        """Tensors that wait for a reader now."""
        return len(self._mailbox.held)

    def send(self, peer: int, message: Tensor) -> None:
        """Hands over the next message to a peer and returns at once; the tensor must not change afterwards.

        Raises:
            EpochAbortedError: the epoch was aborted.
            TransportError: a peer is gone or the transport was aborted.
        """
        try:
            self._transport.send(peer, message)
        except TransportError as error:
            raise self.fail(error) from error
        self._sent_bytes += message.numel() * message.element_size()

    def expect(self, peer: int, batch: Sequence[tuple[Key, Tensor]]) -> None:
        """Receives the next messages of a peer into these buffers, each under its key; returns at once."""
        self._receivers[peer].expect(batch)

    def keep(self, key: Key, tensor: Tensor) -> None:
        """Delivers something of this member's own."""
        self._mailbox.put(key, tensor)

    def take(self, key: Key, *, keep: bool = False) -> Tensor:
        """Waits for something; it goes unless a later reader is planned.

        Raises:
            EpochAbortedError: the epoch was aborted.
            TransportError: a peer is gone or the transport was aborted.
        """
        return self._mailbox.take(key, keep=keep)

    def gather_record(self, record: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Every member's record, in rank order.

        Raises:
            EpochAbortedError: the epoch was aborted.
            TransportError: a peer is gone or the transport was aborted.
        """
        begin_s = time.perf_counter()
        try:
            return self._transport.all_gather_record(record)
        except TransportError as error:
            raise self.fail(error) from error
        finally:
            self._control_wait_s += time.perf_counter() - begin_s

    def drain(self) -> None:
        """Blocks until everything sent has left.

        Raises:
            EpochAbortedError: the epoch was aborted.
            TransportError: a peer is gone or the transport was aborted.
        """
        try:
            self._transport.drain()
        except TransportError as error:
            raise self.fail(error) from error

    def stop(self) -> None:
        """Ends the receiving threads, after all that is expected has arrived or after a failure."""
        for receiver in self._receivers.values():
            receiver.stop()
        self._receivers.clear()  # they hold this object, which would hold the transport until a full collection

    def fail(self, error: PolyrhythmError) -> PolyrhythmError:
        """Ends every wait at once, from any thread; the transport is not used again.

        Returns:
            The first error of the epoch, which is the one to raise.
        """
        self._mailbox.abort(error)
        self._transport.abort()
        return self._mailbox.error or error
