"""Received tensors by key, until their last planned reader has taken them.

Owns the hand-over between the threads that receive and the one that computes. Decides nothing: which key is read, and
when it goes, comes from the schedule.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from typing import Generic, TypeVar

from torch import Tensor

from polyrhythm.errors import PolyrhythmError
from polyrhythm_agent.errors import forget_frames

Key = TypeVar("Key", bound=Hashable)


class Mailbox(Generic[Key]):
    """A blocking dictionary. ``put`` and ``abort`` from any thread, ``take`` from one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: dict[Key, Tensor] = {}
        self._error: PolyrhythmError | None = None
        self._waited_s = 0.0

    @property
    def waited_s(self) -> float:
        """Seconds that ``take`` has blocked so far."""
        return self._waited_s

    @property
    def held(self) -> frozenset[Key]:
        """Keys of the entries that are here now."""
        with self._changed:
            return frozenset(self._entries)

    @property
    def error(self) -> PolyrhythmError | None:
        """Why the mailbox was aborted, if it was."""
        return self._error

    def put(self, key: Key, tensor: Tensor) -> None:
        """Delivers a tensor.

        Raises:
            ValueError: the key is taken already.
        """
        with self._changed:
            if key in self._entries:
                raise ValueError(f"delivered twice: {key}")
            self._entries[key] = tensor
            self._changed.notify_all()

    def take(self, key: Key, *, keep: bool = False) -> Tensor:
        """Waits for a tensor; it goes unless ``keep`` says that a later reader is planned.

        Raises:
            PolyrhythmError: the error that the mailbox was aborted with.
        """
        with self._changed:
            if key not in self._entries or self._error is not None:
                begin_s = time.perf_counter()
                self._changed.wait_for(lambda: key in self._entries or self._error is not None)
                self._waited_s += time.perf_counter() - begin_s
            if self._error is not None:
                raise self._error
            return self._entries[key] if keep else self._entries.pop(key)

    def abort(self, error: PolyrhythmError) -> None:
        """Makes every ``take``, now and later, raise this error; the first call decides."""
        with self._changed:
            if self._error is None:
                forget_frames(error)
                self._error = error
            self._entries.clear()
            self._changed.notify_all()
