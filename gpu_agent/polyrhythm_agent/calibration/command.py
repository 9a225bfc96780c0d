"""What ``polyrhythm-agent calibrate`` does once its options are known to be right."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from polyrhythm.calibration import Calibration
from polyrhythm.errors import InvalidArgumentError
from polyrhythm.facts import ModelFacts
from polyrhythm.image import ImageSpec
from polyrhythm_agent.arithmetic import device_of, dtype_for
from polyrhythm_agent.calibration.file import write_calibration
from polyrhythm_agent.calibration.gang import InProcessGang
from polyrhythm_agent.calibration.measure import measure_level, measure_picture, picture_of, probe_count, sum_up
from polyrhythm_agent.calibration.options import Task
from polyrhythm_agent.calibration.probes import MEMBERS, Grid, grid_of
from polyrhythm_agent.denoiser.checkpoint import diffusers_folder
from polyrhythm_agent.denoiser.loading import DTYPES, load_denoiser
from polyrhythm_agent.model_folder import cache_folder
from polyrhythm_agent.software import software_versions

FIRST_SEED = 40_000
"""Of the first picture; the others count up. Nothing else in this project measures with these."""


def _device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        InvalidArgumentError: torch finds none of that number.
    """
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise InvalidArgumentError.of("--device", f"{name} cannot be used: torch finds {count} CUDA devices")
    return device


def _measure(gang: InProcessGang, grid: Grid, task: Task, say: Callable[..., None]) -> Calibration:
    facts, prompts = gang.denoiser.facts, task.prompts
    done, total = 0, task.pictures * probe_count(grid) + task.level_pictures * probe_count(grid, full=False)

    def count() -> None:
        nonlocal done
        done += 1
        say(done=done, total=total)

    def picture(index: int) -> ImageSpec:
        return picture_of(facts, prompts[index % len(prompts)], FIRST_SEED + index, grid.steps)

    say(done=done, total=total)
    full = [measure_picture(gang, picture(index), grid, count) for index in range(task.pictures)]
    further = [measure_level(gang, picture(task.pictures + index), grid, count) for index in range(task.level_pictures)]
    return sum_up(full, further, grid, facts.samplers[0])


def _made(task: Task, facts: ModelFacts) -> dict[str, object]:
    """How it was measured, for people who read the file."""
    return {
        "command": "polyrhythm calibrate",
        "size": f"{facts.default_width_px}x{facts.default_height_px}",
        "guidance": facts.default_guidance,
        "dtype": facts.dtype,
        "device": task.device,
        "pictures_in_full": task.pictures,
        "pictures_for_the_level": task.level_pictures,
        "first_seed": FIRST_SEED,
        "prompts": list(task.prompts[: task.pictures + task.level_pictures]),
        "software": dict(software_versions()),
    }


def calibrate(task: Task, say: Callable[..., None]) -> None:
    """Measures and writes.

    Args:
        task: what to measure.
        say: told of progress, and at the end of what was written, by keyword.

    Raises:
        PolyrhythmError: the device cannot be used, or the model cannot be loaded or makes no such picture.
        OSError: the file cannot be written.
    """
    device = _device(task.device)
    torch.set_num_threads(task.threads or max(1, len(os.sched_getaffinity(0)) // len(MEMBERS)))
    dtype = DTYPES[dtype_for(task.dtype, device_of(device))]
    folder = diffusers_folder(task.model.path, task.model.configs, cache=cache_folder(os.environ))
    gang = InProcessGang([load_denoiser(folder, model=task.model.name, dtype=dtype, device=device) for _ in MEMBERS])
    facts = gang.denoiser.facts
    grid = grid_of(task.steps or facts.default_steps, facts.samplers[0])
    calibration = _measure(gang, grid, task, say)
    path = write_calibration(folder, facts, calibration, _made(task, facts))
    say(written=str(path), pictures=calibration.pictures, steps=grid.steps, sampler=facts.samplers[0])
