"""What is calibrated is what plans may leave out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from diffusers import EulerAncestralDiscreteScheduler, LCMScheduler

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_agent.calibration.command import calibrate
from polyrhythm_agent.calibration.options import Task
from polyrhythm_agent.model_folder import ModelFolder
from tests.models import tiny_pixart_folder


@pytest.mark.parametrize(
    ("scheduler", "sampler"), [(LCMScheduler(), "lcm"), (EulerAncestralDiscreteScheduler(), "euler-ancestral")]
)
def test_a_model_whose_sampler_makes_every_step_is_not_calibrated(tmp_path: Path, scheduler: Any, sampler: str) -> None:
    task = Task(
        model=ModelFolder(name="tiny", path=tiny_pixart_folder(tmp_path, scheduler=scheduler)),
        device="cpu",
        dtype="float32",
        threads=1,
        steps=(),
        pictures=1,
        level_pictures=0,
        prompts=("a cat",),
        members=2,
        replace=False,
    )
    with pytest.raises(InvalidArgumentError, match=f"model: its sampler {sampler} makes every step"):
        calibrate(task, lambda **_said: None)
    assert not (tmp_path / "calibration.json").exists()
