"""Hands the messages for one peer to a blocking transport in order, on its own thread.

Needed because the computing thread must not wait for a peer to post its receive, nor copy into a socket.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from polyrhythm_agent.errors import TransportError, forget_frames

Transfer = Callable[[], None]
"""Sends one message and returns once it has left; raises TransportError."""


class PeerSender:
    """The messages to one peer. ``submit`` and ``drain`` from one thread, ``stop`` from any."""

    def __init__(self, *, name: str) -> None:
        self._transfers: queue.SimpleQueue[Transfer | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._submitted = 0
        self._completed = 0
        self._error: TransportError | None = None
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, transfer: Transfer) -> None:
        """Queues a message and returns at once.

        Raises:
            TransportError: an earlier message failed, or the sender was stopped.
        """
        if self._error is not None:
            raise self._error
        self._submitted += 1
        self._transfers.put(transfer)

    def drain(self) -> None:
        """Blocks until everything that was submitted has left.

        Raises:
            TransportError: a message failed, or the sender was stopped.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._completed == self._submitted or self._error is not None)
            if self._error is not None:
                raise self._error

    def stop(self, error: TransportError) -> None:
        """Ends the thread once the message under way has left or failed; does not wait for it.

        Args:
            error: for every later call, and for a ``drain`` that waits.
        """
        self._fail(error)
        self._transfers.put(None)

    def _run(self) -> None:
        while (transfer := self._transfers.get()) is not None:
            try:
                transfer()
            except TransportError as error:
                self._fail(error)
                return
            except RuntimeError as error:  # torch's own: no pinned memory left, a lost CUDA context
                self._fail(TransportError(f"sending failed: {error}"))
                return
            with self._changed:
                self._completed += 1
                self._changed.notify_all()

    def _fail(self, error: TransportError) -> None:
        forget_frames(error)
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
