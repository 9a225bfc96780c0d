"""Names of things: agents, jobs, gangs, epochs, layers. Owns identity only; says nothing about state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

AgentId = NewType("AgentId", str)
"""Stable name of one agent daemon, unique in a fleet."""

_AGENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def check_agent_name(text: str) -> str:
    """A name that fits file names, metrics, tables and command lines.

    Raises:
        ValueError: it does not.
    """
    if _AGENT_NAME.fullmatch(text) is None:
        raise ValueError("must be 1..63 letters, digits, '.', '_' or '-', the first one a letter or digit")
    return text


JobId = NewType("JobId", str)
"""Name of one accepted request."""

GangId = NewType("GangId", str)
"""Name of one formed process group; reused by later epochs of the same members while nobody was lost."""

LayerId = NewType("LayerId", str)
"""A layer of a denoiser by its dotted path among the model's modules, such as ``transformer_blocks.3.attn1.to_q``.

The same on every device and in every process that holds the model. A block is the path that those of its layers begin
with, and a stage beside the blocks, such as ``sampler``, has a name of its own.
"""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class EpochId:
    """One uninterrupted run of one gang on one image.

    Attributes:
        incarnation: the coordinator's start, so that a restarted coordinator never reuses a number.
        counter: counts epochs within one incarnation.
    """

    incarnation: int
    counter: int

    def __post_init__(self) -> None:
        if self.incarnation < 0 or self.counter < 0:
            raise ValueError(f"epoch numbers must not be negative: {self.incarnation}, {self.counter}")

    def __str__(self) -> str:
        return f"{self.incarnation}.{self.counter}"
