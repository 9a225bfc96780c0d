"""Where the members of a gang that is being formed find one another: a torch store over a small blocking port.

Owns the translation of torch's store to five operations. Knows no socket: a worker implements the port over its channel
to the daemon, a test over a dictionary.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

import torch.distributed as dist

from polyrhythm.session.rendezvous import StoreOperation
from polyrhythm_agent.errors import EpochAbortedError


class RendezvousClient(Protocol):
    """One gang's dictionary, shared by its members. Threads share it too: a GET that waits holds up no other call."""

    def call(self, operation: StoreOperation, key: str, value: bytes, amount: int) -> tuple[bytes, bool]:
        """One operation; GET blocks until the key exists.

        Args:
            operation: what to do.
            key: of the dictionary.
            value: for SET.
            amount: for ADD.

        Returns:
            What the key holds (for ADD the decimal sum; empty for SET and DELETE), and whether a key to DELETE or
            CHECK exists.

        Raises:
            EpochAbortedError: the epoch ended while waiting.
        """
        ...


class RendezvousStore(dist.Store):  # pyright: ignore[reportPrivateImportUsage]
    """What torch's groups need to form, over a rendezvous client.

    Keep a reference as long as a group is being formed: the group holds the C++ half only.
    """

    def __init__(self, client: RendezvousClient, *, prefix: str) -> None:
        super().__init__()
        self._client = client
        self._prefix = prefix

    def set(self, key: str, value: str | bytes) -> None:
        """Stores a value."""
        data = value.encode() if isinstance(value, str) else bytes(value)
        self._client.call(StoreOperation.SET, self._prefix + key, data, 0)

    def get(self, key: str) -> bytes:
        """Waits for a key and returns its value."""
        return self._client.call(StoreOperation.GET, self._prefix + key, b"", 0)[0]

    def add(self, key: str, value: int) -> int:
        """Adds to a decimal number that begins at 0 and returns the sum."""
        return int(self._client.call(StoreOperation.ADD, self._prefix + key, b"", value)[0])

    def check(self, keys: Sequence[str]) -> bool:
        """Whether all keys exist."""
        return all(self._client.call(StoreOperation.CHECK, self._prefix + key, b"", 0)[1] for key in keys)

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:  # noqa: ARG002
        """Waits for keys. The client's abort ends the wait, not a time-out: deadlines are the coordinator's."""
        for key in keys:
            self.get(key)

    def delete_key(self, key: str) -> bool:
        """Removes a key; tells whether it existed."""
        return self._client.call(StoreOperation.DELETE, self._prefix + key, b"", 0)[1]

    def has_extended_api(self) -> bool:
        """Says that there is neither append nor access to several keys at once."""
        return False


class InProcessRendezvous:
    """A dictionary for members in one process; implements ``RendezvousClient``."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._values: dict[str, bytes] = {}
        self._abort_reason: str | None = None

    def call(self, operation: StoreOperation, key: str, value: bytes, amount: int) -> tuple[bytes, bool]:
        """One operation; see the port."""
        with self._changed:
            match operation:
                case StoreOperation.SET:
                    self._values[key] = value
                    self._changed.notify_all()
                    return b"", True
                case StoreOperation.GET:
                    self._changed.wait_for(lambda: key in self._values or self._abort_reason is not None)
                    if self._abort_reason is not None:
                        raise EpochAbortedError(self._abort_reason)
                    return self._values[key], True
                case StoreOperation.ADD:
                    self._values[key] = b"%d" % (int(self._values.get(key, b"0")) + amount)
                    self._changed.notify_all()
                    return self._values[key], True
                case StoreOperation.CHECK:
                    return b"", key in self._values
                case StoreOperation.DELETE:
                    return b"", self._values.pop(key, None) is not None

    def abort(self, reason: str) -> None:
        """Ends every blocked GET, now and later."""
        with self._changed:
            self._abort_reason = reason
            self._changed.notify_all()
