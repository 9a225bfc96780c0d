"""The cases of the study: which devices, which load beside them, which model, size and steps. Named or drawn. Pure.

Owns the drawing. What is named was named before anything was measured; what is drawn follows from a seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from enum import StrEnum

from latency_study.variants import Variant
from polyrhythm_client.local.layout import cores_by_share

NAMED_SPEEDS = (0.5, 0.4)
DRAWN_RANGE = (0.25, 1.0)
"""Below a quarter of the speed a device is hardly worth its messages; above 1 it is the same pair turned round."""
OCCUPANCIES = (0.2, 0.4, 0.6)
"""Of the second device, by somebody else; the first one is free."""
GANGS = ((1.0, 0.5, 0.5), (0.5, 0.5, 0.5, 0.25))
"""Shares of two cores; those on one core sum to at most 1."""
LARGER_PX = ((192, 128), (192, 192), (256, 256))
"""Beside the models' own 128 by 128, as width and height."""
FLEET_SIZES = (2, 3, 4)
FLEET_PX = ((128, 128), (128, 192), (160, 96), (192, 128), (192, 192))
FLEET_STEPS = (20, 50)
FLEET_CORES = 2
"""Fleets are drawn for so many cores whatever the machine has, so that a seed draws the same ones everywhere."""
DEMO, DEMO_UNET = "demo-transformer", "demo-unet"
FEW_VARIANTS = (
    Variant.SOLO,
    Variant.EQUAL,
    Variant.FEWER_STEPS,
    Variant.UNCALIBRATED,
    Variant.BALANCED,
    Variant.FAST,
)
"""Where many cases matter more than every rule."""


class Group(StrEnum):
    """Kinds of cases, in the order in which they run."""

    PAIRS = "pairs"
    """Two devices of which the second one is emulated; pictures are compared, too."""
    OCCUPANCY = "occupancy"
    """A share of the second device is taken: once by emulation, once by a process on its core."""
    GANGS = "gangs"
    """Three and four devices."""
    MODELS = "models"
    """The other architecture, and larger pictures."""
    FLEETS = "fleets"
    """Everything drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A process that keeps a device's core busy.

    Attributes:
        device: whose core, counted from 0.
        share: of the core that it takes.
    """

    device: int
    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"a load takes a share between 0 and 1: {self.share}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing to measure.

    Attributes:
        group: kind.
        speeds: of the devices, as shares of a core or of a GPU.
        model: name of one that ships, or a folder.
        width_px: of the picture; None for the model's own.
        height_px: the same.
        steps: fine steps; None for those of the study.
        load: beside one of the devices; None for none.
        drawn: whether a seed chose it.
        emulated: whether ``speeds`` are emulated; False where the device itself divides its time.
        number: of a drawn fleet, from 1; 0 for anything else.
        variants: that are compared, in their order.
    """

    group: Group
    speeds: tuple[float, ...]
    model: str = DEMO
    width_px: int | None = None
    height_px: int | None = None
    steps: int | None = None
    load: Load | None = None
    drawn: bool = False
    emulated: bool = True
    number: int = 0
    variants: tuple[Variant, ...] = tuple(Variant)

    def __post_init__(self) -> None:
        for speed in self.speeds:
            if not 0 < speed <= 1:
                raise ValueError(f"a device's speed must be above 0 and at most 1: {speed}")
        if self.load is not None and not 0 <= self.load.device < len(self.speeds):
            raise ValueError(f"no device {self.load.device} among {len(self.speeds)} can be loaded")
        if Variant.SOLO not in self.variants or Variant.EQUAL not in self.variants:
            raise ValueError("every case compares with one device and with equal patches")

    @property
    def name(self) -> str:
        """As it is printed, such as ``1 : 0.5``; no two cases of a study share it."""
        parts = [" : ".join(f"{speed:g}" for speed in self.speeds) + ("" if self.emulated else " (MPS)")]
        if self.load is not None:
            parts.append(f"load {self.load.share:.0%} on device {self.load.device + 1}")
        if self.model != DEMO:
            parts.append(self.model.rstrip("/").rpartition("/")[2])
        if self.width_px is not None:
            parts.append(f"{self.width_px}x{self.height_px}")
        if self.steps is not None:
            parts.append(f"{self.steps} steps")
        return (f"fleet {self.number}: " if self.number else "") + ", ".join(parts)

    @property
    def slow_speed(self) -> float:
        """Of the last device, as a share of the first one's."""
        return self.speeds[-1] / self.speeds[0]

    @property
    def freely(self) -> Case:
        """The same devices without load and emulation: they make the same pictures, sooner."""
        return replace(self, speeds=(1.0,) * len(self.speeds), load=None)


def speed_pair(slow_speed: float, *, drawn: bool = False) -> Case:
    """One device at its true speed beside one that is emulated at a share of it."""
    return Case(group=Group.PAIRS, speeds=(1.0, slow_speed), drawn=drawn)


def speed_pairs(seed: str, drawn: int) -> tuple[Case, ...]:
    """The named pairs, then the drawn ones.

    Args:
        seed: any text; the same text draws the same pairs on every machine.
        drawn: number of pairs drawn uniformly from ``DRAWN_RANGE``, to three digits.
    """
    generator = random.Random(f"speed pairs {seed}")
    speeds = [round(generator.uniform(*DRAWN_RANGE), 3) for _ in range(drawn)]
    return (
        *(speed_pair(speed) for speed in NAMED_SPEEDS),
        *(speed_pair(speed, drawn=True) for speed in speeds),
    )


def occupancies() -> tuple[Case, ...]:
    """Shares of the second device that somebody else takes, emulated and really taken."""
    emulated = tuple(Case(group=Group.OCCUPANCY, speeds=(1.0, round(1.0 - share, 3))) for share in OCCUPANCIES)
    loaded = tuple(
        Case(group=Group.OCCUPANCY, speeds=(1.0, 1.0), load=Load(device=1, share=share)) for share in OCCUPANCIES
    )
    return (*emulated, *loaded)


def gangs() -> tuple[Case, ...]:
    """Three and four devices."""
    return tuple(Case(group=Group.GANGS, speeds=speeds, variants=FEW_VARIANTS) for speeds in GANGS)


def models() -> tuple[Case, ...]:
    """The other architecture at its own size, then larger pictures of both."""
    plain = Case(group=Group.MODELS, speeds=(1.0, 0.5), variants=FEW_VARIANTS)
    larger = tuple(replace(plain, width_px=width_px, height_px=height_px) for width_px, height_px in LARGER_PX)
    unet_px = LARGER_PX[1]
    unet = replace(plain, model=DEMO_UNET)
    return (unet, replace(unet, width_px=unet_px[0], height_px=unet_px[1]), *larger)


def random_fleets(seed: str, count: int) -> tuple[Case, ...]:
    """Fleets of two to four devices, with a model, a size and a number of steps each.

    Speeds are uniform in ``DRAWN_RANGE``, to two digits; those that do not fit on ``FLEET_CORES`` are drawn again.

    Args:
        seed: any text.
        count: how many; fewer ones are the first of more.
    """
    generator = random.Random(f"fleets {seed}")
    return tuple(_random_fleet(generator, number) for number in range(1, count + 1))


def _random_fleet(generator: random.Random, number: int) -> Case:
    devices = generator.choice(FLEET_SIZES)
    while True:
        speeds = tuple(round(generator.uniform(*DRAWN_RANGE), 2) for _ in range(devices))
        if cores_by_share(speeds, range(FLEET_CORES)) is not None:
            break
    width_px, height_px = generator.choice(FLEET_PX)
    return Case(
        group=Group.FLEETS,
        speeds=speeds,
        model=generator.choice((DEMO, DEMO_UNET)),
        width_px=width_px,
        height_px=height_px,
        steps=generator.randint(*FLEET_STEPS),
        drawn=True,
        number=number,
        variants=FEW_VARIANTS,
    )


def all_cases(groups: frozenset[Group], *, seed: str, pairs: int, fleets: int) -> tuple[Case, ...]:
    """The cases of some groups, each once: a pair may be an occupancy too.

    Args:
        groups: that are wanted.
        seed: of what is drawn.
        pairs: drawn beside the named ones.
        fleets: drawn.
    """
    made = {
        Group.PAIRS: speed_pairs(seed, pairs),
        Group.OCCUPANCY: occupancies(),
        Group.GANGS: gangs(),
        Group.MODELS: models(),
        Group.FLEETS: random_fleets(seed, fleets),
    }
    kept: dict[str, Case] = {}
    for case in (case for group in Group if group in groups for case in made[group]):
        kept.setdefault(case.name, case)
    return tuple(kept.values())
