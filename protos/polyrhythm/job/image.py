"""What a user asks for: one image or several, and limits that hold for every model. Frozen data only.

Whether a request keeps them, and a model's own, is for ``request_checks`` to say.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from reprlib import repr as short_repr

from polyrhythm.ids import AgentId
from polyrhythm.model.request_choices import LongPrompt, Sampler
from polyrhythm.plan.plan import Plan

STEPS_MIN = 1
STEPS_MAX = 1000
"""Timesteps that models are trained on; whether a sampler finds a noise level for each is for its agents to say."""
GUIDANCE_MAX = 50.0
COUNT_MAX = 64
PROMPT_CHARACTERS_MAX = 8192
"""Many times what any text encoder reads, and so little that checking, sending and tokenising it takes no time: the
limit in tokens is known only after that work is done."""
TEXT_WINDOWS_MAX = 1024
"""Of a text encoder: a prompt of as many characters as are taken has several hundred at most."""
SEED_MAX = 2**64 - 1


class Quality(StrEnum):
    """How far a picture may leave the single-device one for speed."""

    EXACT = "exact"
    """All segments synchronous: the single-device picture up to rounding."""
    HIGH = "high"
    """Four warm-up steps, then displaced at stride 1."""
    BALANCED = "balanced"
    """The fastest member takes every step, slower ones may skip some. On a calibrated model the fastest such plan
    within 1 dB of plain displaced parallelism; else strides 1 and 2 between four warm-up and four tail steps."""
    FAST = "fast"
    """On a calibrated model the fastest plan within 3 dB of plain displaced parallelism, steps that all members skip
    included; else strides 1 and 2 after two warm-up steps, no tail."""


class Objective(StrEnum):
    """What the planner strives for where several pictures wait, or more may come."""

    LATENCY = "latency"
    """Every picture as soon as possible, by many devices or by one."""
    THROUGHPUT = "throughput"
    """Many pictures a minute: each by a single device, wherever it fits on one; others are kept free for what comes."""


LOSS_DB_MAX = 60.0
"""Far beyond the loss at which nothing of a picture is left."""


STRIDES = (1, 2, 4)
"""Fine steps that one active step may advance: each divides the next, so that all members meet soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What an expert decides instead of the planner; None and empty leave it to the quality's policy.

    Attributes:
        max_stride: largest stride of any agent.
        warmup_steps: synchronous steps at the start.
        tail_steps: last steps at full rate, at least.
        loss_db: how far below plain displaced parallelism the predicted picture may lie, under ``balanced`` and
            ``fast``; for calibrated models only.
        devices: agents that may take part.
    """

    max_stride: int | None = None
    warmup_steps: int | None = None
    tail_steps: int | None = None
    loss_db: float | None = None
    devices: tuple[AgentId, ...] = ()

    def allows(self, agent: AgentId) -> bool:
        """Whether an agent may take part."""
        return not self.devices or agent in self.devices

    @property
    def told(self) -> str:
        """Why others may not take part, in words."""
        return f"the request names {', '.join(self.devices)}"


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
        guidance: classifier-free guidance scale; 1 and less switch guidance off, as in the pipelines of diffusers.
        sampler: update rule.
        quality: policy of the planner.
        preview_every_steps: send a preview at boundaries at least so many steps apart; 0 for none.
        overrides: of the planner's decisions.
        objective: what the planner strives for.
        long_prompt: what becomes of a prompt beyond the model's limit.
        text_windows: that the longer of both texts takes where long ones are chunked; else 1.
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
    overrides: Overrides = Overrides()
    objective: Objective = Objective.LATENCY
    long_prompt: LongPrompt = LongPrompt.REFUSE
    text_windows: int = 1

    def with_seed(self, seed: int) -> ImageSpec:
        """The same picture from other noise."""
        return replace(self, seed=seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """What a user asks for; None stands for the model's default.

    Example::

        ImageRequest(prompt="red apple on a blue background", width_px=128, height_px=128, seed=7, quality=Quality.HIGH)

    Attributes:
        prompt: what to paint.
        model: name of the model; empty where the fleet holds just one.
        negative_prompt: what to avoid; empty for none.
        width_px: width in pixels.
        height_px: height in pixels.
        steps: fine denoising steps; with a fixed plan its own number is the default.
        seed: of the first picture; drawn by the coordinator if None.
        guidance: classifier-free guidance scale.
        sampler: update rule.
        quality: policy of the planner; None for balanced.
        count: pictures to make, with seeds counting up.
        preview_every_steps: send a preview at boundaries at least so many steps apart; 0 for none.
        plan: follow this plan instead of searching one.
        overrides: of the planner's decisions.
        objective: what the planner strives for; None for latency.
        long_prompt: what becomes of a prompt beyond the model's limit; None for a refusal.
    """

    prompt: str
    model: str = ""
    negative_prompt: str = ""
    width_px: int | None = None
    height_px: int | None = None
    steps: int | None = None
    seed: int | None = None
    guidance: float | None = None
    sampler: Sampler | None = None
    quality: Quality | None = None
    count: int = 1
    preview_every_steps: int = 0
    plan: Plan | None = None
    overrides: Overrides = Overrides()
    objective: Objective | None = None
    long_prompt: LongPrompt | None = None

    def __repr__(self) -> str:
        """Short: what was asked for, and of a plan only that there is one."""
        values = ((each, getattr(self, each.name)) for each in fields(self))
        given = {each.name: value for each, value in values if value != each.default}
        shown = (f"{name}={'...' if name == 'plan' else short_repr(value)}" for name, value in given.items())
        return f"ImageRequest({', '.join(shown)})"
