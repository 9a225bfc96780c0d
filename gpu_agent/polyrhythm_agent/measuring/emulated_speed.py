"""Runs a CPU device at a share of its true speed, so that unequal devices can be had on one machine.

Owns the sleeping. A block sleeps in proportion to the CPU time of this thread, so waiting costs nothing and a busy host
does not distort the ratio. Every figure made this way is called emulated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import LayerId
from polyrhythm.model.facts import EMULATED_SPEED_MIN
from polyrhythm_agent.ports.exchange import ActivationExchange
from polyrhythm_agent.ports.layers import Part


def check_speed(speed: float) -> float:
    """A speed that can be emulated.

    Raises:
        InvalidArgumentError: it is not from ``EMULATED_SPEED_MIN`` to 1.
    """
    if not EMULATED_SPEED_MIN <= speed <= 1.0:
        raise InvalidArgumentError.of("emulate_speed", f"must be from {EMULATED_SPEED_MIN:g} to 1, got {speed:g}")
    return speed


class EmulatedSpeed:
    """A ``BlockObserver`` that makes every block take 1 / speed times its CPU time.

    Inside ``pause`` nothing is measured or slept for.
    """

    def __init__(
        self,
        *,
        speed: float,
        cpu_clock_s: Callable[[], float] = time.thread_time,
        wall_clock_s: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._speed = check_speed(speed)
        self._cpu_clock_s = cpu_clock_s
        self._wall_clock_s = wall_clock_s
        self._sleep = sleep
        self._mark_s: float | None = None
        self._cpu_s = 0.0
        self._owed_s = 0.0

    @property
    def busy_s(self) -> float:
        """Seconds that the emulated device has computed: CPU time of finished blocks over speed."""
        return self._cpu_s / self._speed

    def begin_block(self, block: LayerId) -> None:
        """Starts to measure."""
        del block
        self._mark_s = self._cpu_clock_s()

    def end_block(self, block: LayerId) -> None:
        """Sleeps for the block."""
        del block
        self._charge()
        self._mark_s = None

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Sleeps for what was computed so far, then leaves out what happens inside: exchange is no computing."""
        inside_block = self._mark_s is not None
        if inside_block:
            self._charge()
        yield
        if inside_block:
            self._mark_s = self._cpu_clock_s()

    def _charge(self) -> None:
        if self._mark_s is None:
            raise AssertionError("a block ended that had not begun")
        cpu_s = self._cpu_clock_s() - self._mark_s
        self._cpu_s += cpu_s
        self._owed_s += cpu_s * (1.0 / self._speed - 1.0)
        if self._owed_s > 0.0:
            begin_s = self._wall_clock_s()
            self._sleep(self._owed_s)
            # A sleep lasts a little longer than asked for; the next one is shorter by as much.
            self._owed_s -= self._wall_clock_s() - begin_s


class EmulatedExchange:
    """An exchange inside an emulated forward: messages leave as late as on a truly slow device, and are not slowed."""

    def __init__(self, *, exchange: ActivationExchange, speed: EmulatedSpeed) -> None:
        self._exchange = exchange
        self._speed = speed

    @property
    def whole(self) -> bool:
        """As the exchange says."""
        return self._exchange.whole

    def gather(self, layer: LayerId, own_KBND: Tensor) -> Tensor:
        """Sleeps for the computing before the message, then gathers."""
        with self._speed.pause():
            return self._exchange.gather(layer, own_KBND)

    def halo(self, layer: LayerId, own_BCHW: Tensor) -> tuple[Part | None, Part | None]:
        """The same for the rims of the own rows."""
        with self._speed.pause():
            return self._exchange.halo(layer, own_BCHW)

    def collect(self, layer: LayerId, own_MBG: Tensor) -> tuple[Part, ...]:
        """The same for moments of the own rows."""
        with self._speed.pause():
            return self._exchange.collect(layer, own_MBG)
