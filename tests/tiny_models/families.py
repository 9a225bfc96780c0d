"""The model families that every test of a denoiser runs over: how to make a tiny model of one, and what to ask it for.

Owns no arithmetic; a family that is added here is held to all that the others are held to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm.plan.plan import Plan
from tests.tiny_models.transformers import tiny_dit_folder, tiny_pixart_folder, tiny_sigma_folder
from tests.tiny_models.unets import TINY_UNETS, tiny_lcm_folder, tiny_sd_folder, tiny_sdxl_folder, tiny_small_folder
from tests.values.plans import settled

TINY_MODELS: Mapping[str, Callable[[Path], Path]] = {
    "pixart": tiny_pixart_folder,
    "dit": tiny_dit_folder,
    **TINY_UNETS,
}
"""Who writes a tiny model of each make, UNets included, for tests that ask nothing of its size."""

TINY_MAKES: Mapping[str, Callable[[Path], Path]] = {
    **TINY_MODELS,
    "sigma": tiny_sigma_folder,
    "small": tiny_small_folder,
    "lcm": tiny_lcm_folder,
}
"""With the relatives of these makes."""

HALVES = ((torch.float32, Sampler.DDIM), (torch.float64, Sampler.DPM_SOLVER_PP_2M))
"""Every dtype, and a sampler without a history and one with, for gangs; one device goes through all pairs."""


def choice_id(choice: object) -> str | None:
    """How a choice is named in a test's id, where pytest would only count it."""
    return str(choice).removeprefix("torch.") if isinstance(choice, torch.dtype) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family.

    Attributes:
        make: writes a tiny model into a folder; takes ``scheduler`` as a keyword.
        prompt: to paint.
        trained_px: width and height of the pictures that the tiny model is trained on: 16 rows.
        other_px: another width and height: 24 rows.
        other_pictures: further requests worth comparing, as changes to ``image``.
        tokens_only: whether its layers need nothing of other rows but keys and values.
    """

    make: Callable[..., Path]
    prompt: str
    trained_px: tuple[int, int] = (128, 128)
    other_px: tuple[int, int]
    other_pictures: tuple[Mapping[str, Any], ...]
    tokens_only: bool = True

    def plan(self, followed: Plan) -> Plan:
        """A plan as this family can follow it."""
        return followed if self.tokens_only else settled(followed)

    def image(self, *, rows: int = 16, **changes: Any) -> ImageSpec:
        """A picture of 16 or 24 rows in 12 steps with guidance."""
        width_px, height_px = {16: self.trained_px, 24: self.other_px}[rows]
        values: dict[str, Any] = {
            "model": "tiny",
            "prompt": self.prompt,
            "width_px": width_px,
            "height_px": height_px,
            "steps": 12,
            "seed": 11,
            "guidance": 5.0,
            "sampler": Sampler.DDIM,
            "quality": Quality.EXACT,
        }
        return ImageSpec(**values | changes)


FAMILIES: Mapping[str, Family] = {
    "pixart": Family(
        make=tiny_pixart_folder,
        prompt="A red apple on the green background",
        other_px=(128, 192),
        other_pictures=(
            {"guidance": 1.0},
            {"guidance": 0.5},
            {"prompt": "", "seed": 2**64 - 1},
            {"negative_prompt": "blurry cat"},
            {"prompt": "apple " * 200, "negative_prompt": "cat " * 200, "long_prompt": LongPrompt.CUT},
            {"width_px": 64},
        ),
    ),
    "dit": Family(
        make=tiny_dit_folder,
        prompt="golden retriever",
        other_px=(192, 192),
        other_pictures=({"guidance": 1.0}, {"prompt": "999"}, {"width_px": 64, "height_px": 64}),
    ),
    "sd": Family(
        make=tiny_sd_folder,
        prompt="a red apple",
        trained_px=(32, 1024),
        other_px=(32, 1536),
        other_pictures=({"guidance": 1.0}, {"negative_prompt": "blurry cat"}),
        tokens_only=False,
    ),
    "sdxl": Family(
        make=tiny_sdxl_folder,
        prompt="a red apple",
        trained_px=(32, 512),
        other_px=(32, 768),
        other_pictures=({"guidance": 1.0}, {"negative_prompt": "blurry cat"}),
        tokens_only=False,
    ),
}
