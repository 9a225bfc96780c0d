"""Device time between events: blocks count, pauses do not."""

from __future__ import annotations

import torch

from polyrhythm.ids import LayerId
from polyrhythm_agent.denoiser.layers.solo import SoloExchange
from polyrhythm_agent.measuring.busy_clock import DeviceBusyClock, UntimedExchange

BLOCK = LayerId("transformer_blocks.0")


class FakeDevice:
    """A device whose time moves only when it is told to."""

    def __init__(self) -> None:
        self.now_ms = 0.0

    def event(self) -> FakeEvent:
        return FakeEvent(self)


class FakeEvent:
    def __init__(self, device: FakeDevice) -> None:
        self._device = device
        self.at_ms = -1.0

    def record(self) -> None:
        self.at_ms = self._device.now_ms

    def synchronize(self) -> None:
        assert self.at_ms >= 0

    def elapsed_time(self, end: FakeEvent) -> float:
        return end.at_ms - self.at_ms


class SlowExchange(SoloExchange):
    def __init__(self, device: FakeDevice) -> None:
        self._device = device

    def gather(self, layer: LayerId, own_KBND: torch.Tensor) -> torch.Tensor:
        self._device.now_ms += 1000.0
        return own_KBND


def test_blocks_count_and_exchange_does_not() -> None:
    device = FakeDevice()
    clock = DeviceBusyClock(new_event=device.event)
    exchange = UntimedExchange(exchange=SlowExchange(device), clock=clock)
    own_KBND = torch.zeros(2, 1, 1, 1)
    for _ in range(3):
        clock.begin_block(BLOCK)
        device.now_ms += 20.0
        exchange.gather(BLOCK, own_KBND)
        device.now_ms += 5.0
        clock.end_block(BLOCK)
        device.now_ms += 500.0  # between blocks nothing is counted
    assert clock.read_s() == 0.075
    assert clock.read_s() == 0.075


def test_an_exchange_outside_a_block_starts_no_clock() -> None:
    device = FakeDevice()
    clock = DeviceBusyClock(new_event=device.event)
    UntimedExchange(exchange=SlowExchange(device), clock=clock).gather(BLOCK, torch.zeros(2, 1, 1, 1))
    device.now_ms += 10.0
    assert clock.read_s() == 0.0
