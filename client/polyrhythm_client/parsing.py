"""What users write in options, to values; every refusal names the option."""

from __future__ import annotations

import re

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.model.facts import EMULATED_SPEED_MIN

_SIZE = re.compile(r"(?P<width>[0-9]{1,6})[xX×](?P<height>[0-9]{1,6})")


def parse_size(text: str) -> tuple[int, int]:
    """Width and height in pixels from ``128x192``.

    Raises:
        InvalidArgumentError: it is something else.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or not int(found["width"]) or not int(found["height"]):
        raise InvalidArgumentError.of("size", f"must be WIDTHxHEIGHT in pixels, such as 128x192, got {text!r}")
    return int(found["width"]), int(found["height"])


def parse_speeds(text: str) -> tuple[float, ...]:
    """Shares of the true speed from ``1,0.5``.

    Raises:
        InvalidArgumentError: one is no number from ``EMULATED_SPEED_MIN`` to 1.
    """
    speeds: list[float] = []
    for part in text.split(","):
        try:
            speed = float(part)
        except ValueError:
            speed = float("nan")
        if not EMULATED_SPEED_MIN <= speed <= 1.0:
            raise InvalidArgumentError.of(
                "speeds", f"each must be from {EMULATED_SPEED_MIN:g} to 1, such as 1,0.5, got {part.strip()!r}"
            )
        speeds.append(speed)
    return tuple(speeds)


def parse_gpus(text: str) -> tuple[str, ...]:
    """Numbers or UUIDs of CUDA devices from ``0,2``.

    Raises:
        InvalidArgumentError: one is empty.
    """
    gpus = tuple(part.strip() for part in text.split(","))
    if not all(gpus):
        raise InvalidArgumentError.of("gpus", f"must be numbers or UUIDs of CUDA devices, such as 0,2, got {text!r}")
    return gpus


def parse_devices(text: str) -> tuple[AgentId, ...]:
    """Names of agents from ``local-0,local-1``.

    Raises:
        InvalidArgumentError: one is empty.
    """
    names = tuple(AgentId(part.strip()) for part in text.split(","))
    if not all(names):
        raise InvalidArgumentError.of("devices", f"must be names of agents, such as local-0,local-1, got {text!r}")
    return names
