"""What a request may choose as far as its model offers it: the sampler, and what becomes of a long prompt."""

from __future__ import annotations

from enum import StrEnum


class Sampler(StrEnum):
    """Samplers whose update is pointwise: a patch may jump between any two grid points, unless it draws noise."""

    DDIM = "ddim"
    DPM_SOLVER_PP_2M = "dpmpp-2m"
    EULER = "euler"
    EULER_ANCESTRAL = "euler-ancestral"
    """Draws fresh noise at every step, so that it makes every step on every device."""
    FLOW_EULER = "flow-euler"
    """For models of flow matching, and only for those."""
    LCM = "lcm"
    """Latent consistency: predicts the clean picture and adds fresh noise at every step, so no device skips one."""
    TCD = "tcd"
    """Trajectory consistency with gamma 0, as the pipelines of diffusers run it: no fresh noise."""


class LongPrompt(StrEnum):
    """What becomes of a prompt that is longer than a model's text encoder reads at once."""

    REFUSE = "refuse"
    """It is refused, with its length and the limit."""
    CUT = "cut"
    """Its end is left out, as the pipelines of diffusers leave it out, and the user is told what."""
    CHUNK = "chunk"
    """It is encoded window by window, words kept whole, and the image attends to all of them."""
