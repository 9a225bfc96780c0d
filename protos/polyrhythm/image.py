"""What a user asks for: one image or several, and the limits that a model sets. Owns request validation.

The coordinator knows no model; it checks a request against the ``ModelFacts`` that agents report.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from polyrhythm.errors import FieldViolation, InvalidArgumentError
from polyrhythm.facts import ModelFacts

STEPS_MIN = 1
STEPS_MAX = 1000
GUIDANCE_MAX = 50.0
COUNT_MAX = 64
SEED_MAX = 2**63 - 1


class Sampler(StrEnum):
    """Deterministic samplers whose update is pointwise, so that a patch may jump between any two grid points."""

    DDIM = "ddim"
    DPM_SOLVER_PP_2M = "dpmpp-2m"


class Quality(StrEnum):
    """How far a picture may leave the single-device one for speed."""

    EXACT = "exact"
    """All segments synchronous: the single-device picture up to rounding."""
    HIGH = "high"
    """Four warm-up steps, then displaced at stride 1."""
    BALANCED = "balanced"
    """Strides 1 and 2 between four warm-up and four tail steps."""
    FAST = "fast"
    """Strides 1 and 2 after two warm-up steps, no tail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """One picture to make.

    Attributes:
        model: name under which agents report the model.
        prompt: what to paint.
        negative_prompt: what to avoid; empty for none.
        width_px: width in pixels.
        height_px: height in pixels.
        steps: fine denoising steps.
        seed: of the initial noise; the same seed gives the same noise on every device and for every split.
        guidance: classifier-free guidance scale; 1 switches guidance off.
        sampler: update rule.
        quality: policy of the planner.
        preview_every_steps: send a preview at boundaries at least so many steps apart; 0 for none.
    """

    model: str
    prompt: str
    negative_prompt: str = ""
    width_px: int
    height_px: int
    steps: int
    seed: int
    guidance: float
    sampler: Sampler
    quality: Quality
    preview_every_steps: int = 0

    def with_seed(self, seed: int) -> ImageSpec:
        """The same picture from other noise."""
        return replace(self, seed=seed)


def check_image(image: ImageSpec, facts: ModelFacts) -> None:
    """Checks a request against a model's limits; token counts are checked where the tokenizer is.

    Raises:
        InvalidArgumentError: names every offending field.
    """
    found: list[FieldViolation] = []

    def need(condition: bool, field: str, description: str) -> None:
        if not condition:
            found.append(FieldViolation(field=field, description=description))

    need(bool(image.prompt.strip()), "prompt", "must not be empty")
    multiple = facts.pixel_multiple
    for axis, value_px in (("width", image.width_px), ("height", image.height_px)):
        need(
            value_px > 0 and value_px % multiple == 0,
            "size",
            f"{axis} must be a positive multiple of {multiple} pixels, got {value_px}",
        )
    need(
        image.width_px * image.height_px <= facts.pixels_max,
        "size",
        f"at most {facts.pixels_max} pixels, got {image.width_px}x{image.height_px}",
    )
    need(STEPS_MIN <= image.steps <= STEPS_MAX, "steps", f"must be {STEPS_MIN}..{STEPS_MAX}, got {image.steps}")
    need(0 <= image.seed <= SEED_MAX, "seed", f"must be 0..2^63-1, got {image.seed}")
    need(1.0 <= image.guidance <= GUIDANCE_MAX, "guidance", f"must be 1..{GUIDANCE_MAX:g}, got {image.guidance:g}")
    need(
        image.sampler in facts.samplers,
        "sampler",
        f"{image.sampler} is not offered by {facts.model}; it offers {', '.join(facts.samplers)}",
    )
    need(image.preview_every_steps >= 0, "preview_every_steps", f"must not be negative: {image.preview_every_steps}")
    if found:
        raise InvalidArgumentError(*found)
