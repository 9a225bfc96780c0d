"""Virtual time: what is to happen when, in order of time and then of arrangement. Reads no clock."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf


class Agenda:
    """A clock that jumps from one thing to the next."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._arranged = 0

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        """Arranges something, now at the earliest; what is to happen at infinity never does."""
        if time_s == inf:
            return
        self._arranged += 1
        heappush(self._entries, (max(time_s, self.now_s), self._arranged, action))

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Arranges something some time from now."""
        self.at(self.now_s + delay_s, action)

    def step(self) -> bool:
        """Lets the next thing happen; False if nothing is left."""
        if not self._entries:
            return False
        self.now_s, _, action = heappop(self._entries)
        action()
        return True
