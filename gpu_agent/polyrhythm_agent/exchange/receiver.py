"""Posts the receives from one peer in the pair's order and delivers what arrives to the mailbox, on its own thread.

Needed because a posted receive makes progress only while somebody waits for it, and the computing thread has better to
do. Decides no order: it receives exactly what it is told to expect.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from torch import Tensor

from polyrhythm_agent.errors import TransportError
from polyrhythm_agent.exchange.mailbox import Mailbox
from polyrhythm_agent.ports.transport import Transport

Key = TypeVar("Key", bound=Hashable)


class PeerReceiver(Generic[Key]):
    """The receives from one peer during one epoch. ``expect`` and ``stop`` from one thread."""

    def __init__(
        self,
        *,
        source: int,
        transport: Transport,
        mailbox: Mailbox[Key],
        fail: Callable[[TransportError], object],
    ) -> None:
        self._source = source
        self._transport = transport
        self._mailbox = mailbox
        self._fail = fail
        self._batches: queue.SimpleQueue[Sequence[tuple[Key, Tensor]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"receive-from-{source}", daemon=True)
        self._thread.start()

    def expect(self, batch: Sequence[tuple[Key, Tensor]]) -> None:
        """Receives the next messages into these buffers and delivers each under its key; returns at once."""
        self._batches.put(batch)

    def stop(self) -> None:
        """Ends the thread after all that is expected has arrived, or at once after a failure."""
        self._batches.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (batch := self._batches.get()) is not None:
                self._receive(batch)
        except TransportError as error:
            self._fail(error)
        except RuntimeError as error:  # torch's own: no pinned memory left, a lost CUDA context
            self._fail(TransportError(f"receiving from member {self._source} failed: {error}"))

    def _receive(self, batch: Sequence[tuple[Key, Tensor]]) -> None:
        receipts = [(key, self._transport.post_receive(self._source, buffer)) for key, buffer in batch]
        for key, receipt in receipts:
            self._mailbox.put(key, receipt.wait())
