"""Which load appears beside which device, and when. Named or drawn from a seed. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

from latency_study.cases import Case, Group, Load

NAMED_MOMENT = 1 / 3
NAMED_SHARES = (0.6, 0.4)
MOMENTS = (0.15, 0.6)
SHARES = (0.3, 0.7)
SLOW_SPEEDS = (0.4, 1.0)
"""Of the second device; the first one runs freely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One load that appears while a picture is made.

    Attributes:
        speeds: of the devices, emulated.
        load: that appears.
        moment: when, as a share of the predicted denoising time.
        drawn: whether a seed chose it.
    """

    speeds: tuple[float, ...]
    load: Load
    moment: float
    drawn: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.moment < 1:
            raise ValueError(f"a load appears within the picture, not at {self.moment} of it")

    @property
    def name(self) -> str:
        """As it is printed."""
        devices = Case(group=Group.OCCUPANCY, speeds=self.speeds, load=self.load)
        return f"{devices.name}, from {self.moment:.0%} on"

    def case(self, *, model: str, width_px: int, height_px: int, steps: int) -> Case:
        """Its devices and their load, for a model and a size."""
        return Case(
            group=Group.OCCUPANCY,
            speeds=self.speeds,
            model=model,
            width_px=width_px,
            height_px=height_px,
            steps=steps,
            load=self.load,
            drawn=self.drawn,
        )


def scenarios(seed: str, drawn: int) -> tuple[Scenario, ...]:
    """The named loads at a third of the picture, then drawn ones at drawn moments.

    Args:
        seed: any text; the same text draws the same on every machine.
        drawn: how many; fewer ones are the first of more.
    """
    generator = random.Random(f"loads {seed}")
    named = [
        Scenario(speeds=(1.0, 1.0), load=Load(device=1, share=share), moment=NAMED_MOMENT) for share in NAMED_SHARES
    ]
    return (*named, *(_draw(generator) for _ in range(drawn)))


def _draw(generator: random.Random) -> Scenario:
    return Scenario(
        speeds=(1.0, round(generator.uniform(*SLOW_SPEEDS), 2)),
        load=Load(device=generator.randrange(2), share=round(generator.uniform(*SHARES), 2)),
        moment=round(generator.uniform(*MOMENTS), 2),
        drawn=True,
    )
