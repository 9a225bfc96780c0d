"""Seconds a device has really computed: CPU time over emulated speed, or device time. Waiting and exchange excluded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, Self

import torch
from torch import Tensor

from polyrhythm.ids import LayerId
from polyrhythm_agent.measuring.emulated_speed import EmulatedSpeed
from polyrhythm_agent.ports.exchange import ActivationExchange
from polyrhythm_agent.ports.layers import Part


class BusyClock(Protocol):
    """A clock that runs while the device of this thread computes."""

    def read_s(self) -> float:
        """Seconds so far; finishes queued device work first."""
        ...


class CpuBusyClock:
    """CPU time inside blocks over emulated speed, as the observer that slows them has counted it."""

    def __init__(self, *, speed: EmulatedSpeed) -> None:
        self._speed = speed

    def read_s(self) -> float:
        """Busy seconds so far."""
        return self._speed.busy_s


class DeviceEvent(Protocol):
    """A mark in a device's queue of work."""

    def record(self) -> None:
        """Puts the mark behind everything queued so far."""
        ...

    def synchronize(self) -> None:
        """Waits until the device has come to the mark."""
        ...

    def elapsed_time(self, end: Self) -> float:
        """Milliseconds of the device between two marks."""
        ...


def cuda_event() -> DeviceEvent:
    """A CUDA event that keeps time."""
    return torch.cuda.Event(enable_timing=True)  # pyright: ignore[reportReturnType]


class DeviceBusyClock:
    """Device time inside blocks, between events; a ``BlockObserver``.

    Host time would not do: while the host waits for a peer's rows, its own device may still compute.
    """

    def __init__(self, *, new_event: Callable[[], DeviceEvent] = cuda_event) -> None:
        self._new_event = new_event
        self._begin: DeviceEvent | None = None
        self._spans: list[tuple[DeviceEvent, DeviceEvent]] = []
        self._counted_s = 0.0

    def begin_block(self, block: LayerId) -> None:
        """Marks the begin."""
        del block
        self._begin = self._mark()

    def end_block(self, block: LayerId) -> None:
        """Marks the end."""
        del block
        self._close()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leaves out what happens inside: exchange is no computing."""
        inside_block = self._begin is not None
        self._close()
        yield
        if inside_block:
            self._begin = self._mark()

    def read_s(self) -> float:
        """Busy seconds so far; waits for the device."""
        if self._spans:
            self._spans[-1][1].synchronize()
        self._counted_s += sum(begin.elapsed_time(end) for begin, end in self._spans) / 1000.0
        self._spans.clear()
        return self._counted_s

    def _mark(self) -> DeviceEvent:
        event = self._new_event()
        event.record()
        return event

    def _close(self) -> None:
        if self._begin is not None:
            self._spans.append((self._begin, self._mark()))
            self._begin = None


class UntimedExchange:
    """An exchange inside a timed forward: its time is not the device's."""

    def __init__(self, *, exchange: ActivationExchange, clock: DeviceBusyClock) -> None:
        self._exchange = exchange
        self._clock = clock

    @property
    def whole(self) -> bool:
        """As the exchange says."""
        return self._exchange.whole

    def gather(self, layer: LayerId, own_KBND: Tensor) -> Tensor:
        """Stops the clock, then gathers."""
        with self._clock.pause():
            return self._exchange.gather(layer, own_KBND)

    def halo(self, layer: LayerId, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        """The same for the rims of the own rows."""
        with self._clock.pause():
            return self._exchange.halo(layer, own_BCHW)

    def collect(self, layer: LayerId, own_MBG: Tensor) -> tuple[Part, ...]:
        """The same for moments of the own rows."""
        with self._clock.pause():
            return self._exchange.collect(layer, own_MBG)
