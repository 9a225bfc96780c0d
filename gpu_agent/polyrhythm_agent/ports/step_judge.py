"""Whether a forward stands: asked between a prediction and the update of the latent that would be made of it."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from torch import Tensor


class StepVerdict(IntEnum):
    """On one step."""

    ACCEPTED = 0
    REPEAT = 1
    """The forward is to be run again, from the same latent."""


class StepJudge(Protocol):
    """Decides on every step; ends a row of repeats itself."""

    def __call__(self, step: int, prediction_BCHW: Tensor) -> StepVerdict:
        """Called once a forward, with what it predicted for the own rows."""
        ...
