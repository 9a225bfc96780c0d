"""The picture that these fleets make, plans for it by hand, and what it must look like.

All of them make a red apple with a seed of its own, so that a picture depends on nothing but what a test asks for. The
model is ``TEST_FAULT_MODEL``, for long runs of the faults on another one (``demo-transformer`` else).
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import torch

from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageRequest, Quality
from polyrhythm.job.request_checks import resolve
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.model_files.model_folder import find_model
from polyrhythm_agent.ports.denoiser import Denoiser
from polyrhythm_client import Picture
from tests.oracles.simulator import PlanSimulator
from tests.values.plans import plan, segment

MODEL = os.environ.get("TEST_FAULT_MODEL", "demo-transformer")
"""What the fleets that are started as a person would make pictures with; two CPU devices share its pictures."""
PROMPT = "red apple on a blue background"
SEED = 5
SIZE_PX = 128
PIXEL_LEVELS = 1
"""An fp32 picture of another arithmetic order may round a pixel the other way."""


def request(steps: int, quality: Quality) -> ImageRequest:
    """A picture of the fleet's model."""
    return ImageRequest(
        model=MODEL,
        prompt=PROMPT,
        width_px=SIZE_PX,
        height_px=SIZE_PX,
        steps=steps,
        seed=SEED,
        sampler=Sampler.DDIM,
        guidance=4.0,
        quality=quality,
    )


def halves(upper: AgentId, lower: AgentId, *ends: tuple[Exchange, int], rows: int = 16, beat_steps: int = 2) -> Plan:
    """Half of the rows each, up to these steps with these exchanges; the upper one encodes and decodes."""
    begins = (0, *(end for _, end in ends))
    segments = (
        segment(
            begin, end, (rows // 2, rows - rows // 2), exchange=exchange, beat_steps=beat_steps, agents=(upper, lower)
        )
        for begin, (exchange, end) in zip(begins, ends, strict=False)
    )
    return replace(plan(*segments), decoder=upper)


def load_in_fp32() -> Denoiser:
    """The fleet's model in this process."""
    torch.set_num_threads(1)
    return load_denoiser(find_model(MODEL).path, model=MODEL, dtype=torch.float32)


def pixels(picture: Picture) -> np.ndarray:
    """Of a picture that a fleet made, HWC."""
    return np.asarray(picture.image().convert("RGB")).astype(int)


def simulated(denoiser: Denoiser, asked: ImageRequest, *plans: Plan) -> np.ndarray:
    """What these plans, each from its own first step on, make of a request, HWC."""
    image = resolve(asked, denoiser.facts, seed=SEED)
    with torch.inference_mode():
        run = denoiser.start(image, denoiser.encode(image))
        x_BCHW = PlanSimulator(run).follow(plans)[image.steps].x_BCHW
        return denoiser.decode(x_BCHW).permute(1, 2, 0).numpy()


def same_pixels(one: np.ndarray, other: np.ndarray) -> bool:
    """But for what another order of arithmetic may round the other way."""
    return bool(np.abs(one.astype(int) - other.astype(int)).max() <= PIXEL_LEVELS)


def right_pixels(denoiser: Denoiser, picture: Picture, asked: ImageRequest) -> bool:
    """Whether a picture is what its own plans say, by the simulator."""
    return same_pixels(pixels(picture), simulated(denoiser, asked, *picture.report.plans))
