"""What the exchange asks of whatever carries messages between the members of a gang."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from polyrhythm.plan.profile import Link


class Receipt(Protocol):
    """A posted receive."""

    def wait(self) -> Tensor:
        """Blocks until the message is there.

        Raises:
            TransportError: the peer is gone or the transport was aborted.
        """
        ...


class Transport(Protocol):
    """Ordered messages between the members of one gang: FIFO for each ordered pair, no tags, rendezvous.

    A send completes only when its receive is posted. Sends and receives of different pairs do not wait for one
    another.
    """

    @property
    def rank(self) -> int:
        """This member."""
        ...

    @property
    def size(self) -> int:
        """Members of the gang."""
        ...

    def post_receive(self, source: int, buffer: Tensor) -> Receipt:
        """Posts the next receive from a peer, into a contiguous buffer."""
        ...

    def send(self, destination: int, message: Tensor) -> None:
        """Hands over the next message to a peer and returns at once; the tensor must not change afterwards."""
        ...

    def all_gather_record(self, record: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Control group: every member's record of int64, in rank order. Blocks until all have contributed.

        Raises:
            TransportError: a peer is gone or the transport was aborted.
        """
        ...

    def probe_links(self) -> tuple[tuple[int, Link], ...]:
        """Measures latency and rate to every peer; all members call it together, once, right after forming."""
        ...

    def abort(self) -> None:
        """Ends every blocked wait at once with TransportError; from any thread, any number of times."""
        ...

    def drain(self) -> None:
        """Blocks until all sends have completed.

        Raises:
            TransportError: a peer is gone or the transport was aborted.
        """
        ...
