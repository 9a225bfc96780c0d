"""Seconds a device has really computed: CPU time over emulated speed, or device time. Waiting and exchange excluded."""

from __future__ import annotations

import time
from typing import Protocol

import torch

from polyrhythm_agent.emulation import EmulatedSpeed


class BusyClock(Protocol):
    """A clock that runs while the device of this thread computes."""

    @property
    def runs_while_waiting(self) -> bool:
        """Whether waiting for peers must be subtracted by the caller."""
        ...

    def read_s(self) -> float:
        """Seconds so far; finishes queued device work first."""
        ...


class CpuBusyClock:
    """CPU time inside layers over emulated speed, as the seam that slows them has counted it."""

    runs_while_waiting = False

    def __init__(self, *, speed: EmulatedSpeed) -> None:
        self._speed = speed

    def read_s(self) -> float:
        """Busy seconds so far."""
        return self._speed.busy_s


class CudaBusyClock:
    """Wall time with the device synchronised."""

    runs_while_waiting = True

    def __init__(self, *, device: torch.device) -> None:
        self._device = device

    def read_s(self) -> float:
        """Seconds so far."""
        torch.cuda.synchronize(self._device)
        return time.perf_counter()
