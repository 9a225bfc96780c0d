"""Emulated speed: sleeps in proportion to CPU time, leaves out the exchange, and makes up for sleeping too long."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import LayerId
from polyrhythm_agent.denoiser.layers.solo import SoloExchange
from polyrhythm_agent.measuring.emulated_speed import EmulatedExchange, EmulatedSpeed

BLOCK = LayerId("transformer_blocks.0")
OUTPUT = torch.zeros(1)


class FakeTime:
    """A CPU clock that tests move and a wall clock that sleeping moves."""

    def __init__(self, *, oversleep_s: float = 0.0) -> None:
        self.cpu_s = 0.0
        self.wall_s = 0.0
        self.slept_s: list[float] = []
        self._oversleep_s = oversleep_s

    def compute(self, seconds: float) -> None:
        self.cpu_s += seconds
        self.wall_s += seconds

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.wall_s += seconds + self._oversleep_s

    def speed(self, speed: float) -> EmulatedSpeed:
        return EmulatedSpeed(
            speed=speed, cpu_clock_s=lambda: self.cpu_s, wall_clock_s=lambda: self.wall_s, sleep=self.sleep
        )


def run_block(time: FakeTime, speed: EmulatedSpeed, seconds: float) -> None:
    speed.begin_block(BLOCK)
    time.compute(seconds)
    speed.end_block(BLOCK)


def test_half_speed_takes_twice_as_long() -> None:
    time = FakeTime()
    speed = time.speed(0.5)
    run_block(time, speed, 2.0)
    time.compute(5.0)  # between blocks: nobody's business
    run_block(time, speed, 1.0)
    assert time.slept_s == [2.0, 1.0]
    assert speed.busy_s == 6.0


def test_full_speed_never_sleeps() -> None:
    time = FakeTime()
    speed = time.speed(1.0)
    run_block(time, speed, 2.0)
    assert time.slept_s == []
    assert speed.busy_s == 2.0


def test_waiting_costs_nothing() -> None:
    time = FakeTime()
    speed = time.speed(0.25)
    speed.begin_block(BLOCK)
    time.wall_s += 100.0
    speed.end_block(BLOCK)
    assert time.slept_s == []


def test_a_long_sleep_shortens_the_next_ones() -> None:
    time = FakeTime(oversleep_s=0.75)
    speed = time.speed(0.5)
    for _ in range(3):
        run_block(time, speed, 1.0)
    assert time.slept_s == [1.0, 0.25, 0.25]
    run_block(time, speed, 0.5)  # 0.75 too long so far, 0.5 due: no sleep
    assert len(time.slept_s) == 3


class CountingExchange(SoloExchange):
    def __init__(self, time: FakeTime) -> None:
        self._time = time
        self.slept_before_s: list[float] = []

    def gather(self, layer: LayerId, own_KBND: Tensor) -> Tensor:
        self.slept_before_s.append(sum(self._time.slept_s))
        self._time.compute(10.0)
        return own_KBND


def test_messages_leave_late_and_the_exchange_is_not_slowed() -> None:
    time = FakeTime()
    speed, inner = time.speed(0.5), CountingExchange(time)
    exchange = EmulatedExchange(exchange=inner, speed=speed)
    speed.begin_block(BLOCK)
    time.compute(1.0)
    assert exchange.gather(BLOCK, OUTPUT) is OUTPUT
    time.compute(3.0)
    speed.end_block(BLOCK)
    assert inner.slept_before_s == [1.0]
    assert time.slept_s == [1.0, 3.0]
    assert speed.busy_s == 8.0


def test_an_exchange_outside_a_block_passes() -> None:
    time = FakeTime()
    speed = time.speed(0.5)
    EmulatedExchange(exchange=CountingExchange(time), speed=speed).gather(BLOCK, OUTPUT)
    assert speed.busy_s == 0.0


def test_a_block_that_was_left_by_an_error_is_forgotten() -> None:
    time = FakeTime()
    speed = time.speed(0.5)
    speed.begin_block(BLOCK)
    time.compute(100.0)
    run_block(time, speed, 1.0)
    assert time.slept_s == [1.0]


@pytest.mark.parametrize("speed", [0.0, 1e-300, -1.0, 1.5, float("nan")])
def test_impossible_speeds_are_refused(speed: float) -> None:
    with pytest.raises(InvalidArgumentError, match=r"emulate_speed: must be from 0\.01 to 1"):
        EmulatedSpeed(speed=speed)


def test_a_block_cannot_end_twice() -> None:
    time = FakeTime()
    speed = time.speed(0.5)
    run_block(time, speed, 1.0)
    with pytest.raises(AssertionError, match="had not begun"):
        speed.end_block(BLOCK)
