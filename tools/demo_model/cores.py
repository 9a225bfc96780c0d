"""How many threads a training in the background should use: the cores that nobody else is using.

Owns the reading of /proc/stat. A parallel region waits for its slowest thread, so a thread that competes for its core
costs more than it brings.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

TICKS_A_S = os.sysconf("SC_CLK_TCK")
INTERVAL_S = 2.0


class FreeCores:
    """Follows the machine's load and sets torch's thread count to what is left over."""

    def __init__(self, most_threads: int) -> None:
        """Start with ``most_threads``, from which every later count is at most."""
        self._most_threads = most_threads
        self._all_s, self._own_s = _busy_s(), _own_s()
        self._time_s = os.times().elapsed
        torch.set_num_threads(most_threads)

    def follow(self) -> int:
        """Adapt to the load since the last adaptation, some seconds ago; returns the number of threads now in use."""
        all_s, own_s, time_s = _busy_s(), _own_s(), os.times().elapsed
        if time_s - self._time_s < INTERVAL_S:
            return torch.get_num_threads()
        others = ((all_s - self._all_s) - (own_s - self._own_s)) / (time_s - self._time_s)
        self._all_s, self._own_s, self._time_s = all_s, own_s, time_s
        free = (os.cpu_count() or 1) - others
        threads = max(1, min(self._most_threads, int(free + 0.6)))
        torch.set_num_threads(threads)
        return threads


def _busy_s() -> float:
    """Seconds that all cores together have spent on user, nice, system and interrupt work."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in fields[:7])
    return (user + nice + system + irq + softirq) / TICKS_A_S


def _own_s() -> float:
    times = os.times()
    return times.user + times.system
