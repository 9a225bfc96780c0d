"""The speed pairs of the study: two that are named in advance and some that a seed draws.

Owns the drawing. A pair is (1 : v): one device at its true speed beside one that is emulated at a share of it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

NAMED_SPEEDS = (0.5, 0.4)
DRAWN_RANGE = (0.25, 1.0)
"""Below a quarter of the speed a device is hardly worth its messages; above 1 it is the same pair turned round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedPair:
    """Two devices.

    Attributes:
        slow_speed: of the second device, as a share of the first one's.
        drawn: whether a seed chose it.
    """

    slow_speed: float
    drawn: bool

    def __post_init__(self) -> None:
        if not 0 < self.slow_speed <= 1:
            raise ValueError(f"the slow device's speed must be above 0 and at most 1: {self.slow_speed}")

    @property
    def name(self) -> str:
        """As it is printed, such as ``1 : 0.5``."""
        return f"1 : {self.slow_speed:g}"

    @property
    def speeds(self) -> tuple[float, float]:
        """Of both devices, the fastest first."""
        return (1.0, self.slow_speed)


def speed_pairs(seed: str, drawn: int) -> tuple[SpeedPair, ...]:
    """The named pairs, then the drawn ones.

    Args:
        seed: any text; the same text draws the same pairs on every machine.
        drawn: number of pairs drawn uniformly from ``DRAWN_RANGE``, to three digits.
    """
    generator = random.Random(f"speed pairs {seed}")
    speeds = [round(generator.uniform(*DRAWN_RANGE), 3) for _ in range(drawn)]
    return (
        *(SpeedPair(slow_speed=speed, drawn=False) for speed in NAMED_SPEEDS),
        *(SpeedPair(slow_speed=speed, drawn=True) for speed in speeds),
    )
