"""What a picture of the fleet must look like: its own plans, followed by the simulator."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from polyrhythm.image import ImageSpec
from polyrhythm_agent.ports import Denoiser
from polyrhythm_client import Picture
from tests.simulator import PlanSimulator

PIXEL_LEVELS = 1
"""An fp32 picture of another arithmetic order may round a pixel the other way."""


def right_pixels(denoiser: Denoiser, picture: Picture, image: ImageSpec) -> bool:
    """Whether a picture is what its own plans say, by the simulator."""
    with torch.inference_mode():
        run = denoiser.start(image, denoiser.encode(image))
        states = PlanSimulator(run).follow(picture.report.plans)
        expected_HWC = denoiser.decode(states[image.steps].x_BCHW).permute(1, 2, 0).numpy().astype(int)
    made_HWC = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(int)
    return bool(np.abs(made_HWC - expected_HWC).max() <= PIXEL_LEVELS)
