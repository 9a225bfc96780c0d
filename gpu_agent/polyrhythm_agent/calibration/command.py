"""What ``polyrhythm-agent calibrate`` does once its options are known to be right."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.model.facts import ModelFacts
from polyrhythm_agent.calibration.file import IN_FULL, Pictures, check_replaceable, write_calibration
from polyrhythm_agent.calibration.fit import measured_as, sum_up
from polyrhythm_agent.calibration.folder import try_folder
from polyrhythm_agent.calibration.gang import InProcessGang
from polyrhythm_agent.calibration.measure import PictureErrors, measure_picture, picture_of, probe_count
from polyrhythm_agent.calibration.members import load_members, memory_suffices
from polyrhythm_agent.calibration.options import Task
from polyrhythm_agent.calibration.partial import PartialFile
from polyrhythm_agent.calibration.probes import MEMBERS_MIN, STEPS_MIN, Grid, grid_of, joints
from polyrhythm_agent.denoiser.files.checkpoint import diffusers_folder
from polyrhythm_agent.denoiser.loading import DTYPES, load_denoiser
from polyrhythm_agent.denoiser.model_code import model_code
from polyrhythm_agent.host.dtypes import device_of, dtype_for
from polyrhythm_agent.host.software import software_versions
from polyrhythm_agent.memory.device_memory import memory_of
from polyrhythm_agent.model_files.model_folder import cache_folder
from polyrhythm_agent.ports.denoiser import Denoiser

FIRST_SEED = 40_000
"""Of the first picture; the others count up. Nothing else in this project measures with these."""

SHOWN_CHARACTERS = 60
"""Of a prompt that is refused."""


def _device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        InvalidArgumentError: torch finds none of that number.
    """
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise InvalidArgumentError.of("--device", f"{name} cannot be used: torch finds {count} CUDA devices")
    return device


class _Run:
    """Measures grid after grid, and says how far it is.

    Args:
        gang: that makes the pictures.
        grids: to measure.
        task: with how many pictures.
        say: told of progress.
    """

    def __init__(self, gang: InProcessGang, grids: Sequence[Grid], task: Task, say: Callable[..., None]) -> None:
        self._gang, self._task, self._say = gang, task, say
        self._done, self._total = 0, sum(self._probes(grid, index) for grid in grids for index in range(self._pictures))

    @property
    def _pictures(self) -> int:
        return self._task.pictures + self._task.level_pictures

    def _probes(self, grid: Grid, index: int) -> int:
        return probe_count(grid, members=self._gang.size, in_full=self._in_full(index))

    def _in_full(self, index: int) -> bool:
        return index < self._task.pictures

    def _count(self, probes: int = 1) -> None:
        self._done += probes
        self._say(done=self._done, total=self._total)

    def measure(self, grid: Grid, partial: PartialFile) -> list[PictureErrors]:
        """All pictures of one grid; those that an earlier run has left in the file are taken from there."""
        facts, prompts, found = self._gang.denoiser.facts, self._task.prompts, list[PictureErrors]()
        self._count(0)
        for index in range(self._pictures):
            image = picture_of(facts, prompts[index % len(prompts)], FIRST_SEED + index, grid.steps)
            in_full = self._in_full(index)
            named = {"prompt": image.prompt, "seed": image.seed, "in_full": in_full}
            errors = partial.get(named)
            if errors is None:
                with model_code():
                    errors = measure_picture(self._gang, image, grid, self._count, in_full=in_full)
                partial.keep(named, errors)
            else:
                self._count(self._probes(grid, index))
            found.append(errors)
        return found


def _made(task: Task, facts: ModelFacts) -> dict[str, object]:
    """How it was measured, for people who read the file."""
    return {
        "command": "polyrhythm calibrate",
        "dtype": facts.dtype,
        "device": task.device,
        IN_FULL: task.pictures,
        "pictures_for_the_level": task.level_pictures,
        "first_seed": FIRST_SEED,
        "prompts": list(task.prompts[: task.pictures + task.level_pictures]),
        "software": {each.name: each.version for each in software_versions()},
    }


def calibrate(task: Task, say: Callable[..., None]) -> None:
    """Measures and writes.

    Args:
        task: what to measure.
        say: told of progress, and at the end of what was written, by keyword.

    Raises:
        PolyrhythmError: the device cannot be used, the model cannot be loaded or makes no such picture, or its folder
            cannot be written.
    """
    device = _device(task.device)
    torch.set_num_threads(task.threads or max(1, len(os.sched_getaffinity(0)) // MEMBERS_MIN))
    folder = diffusers_folder(task.model.path, task.model.configs, cache=cache_folder(os.environ))
    try_folder(folder)  # before anything is loaded and measured: it may be locked
    with memory_suffices(task.members):
        _calibrate(folder, task, device, say)


def _calibrate(folder: Path, task: Task, device: torch.device, say: Callable[..., None]) -> None:
    dtype = DTYPES[dtype_for(task.dtype, device_of(device))]

    def load() -> Denoiser:
        return load_denoiser(folder, model=task.model.name, dtype=dtype, device=device)

    first = load()
    facts = first.facts
    _check_sampler(facts)
    grids = _grids(task, first)
    _check_prompts(task, first)
    pictures = Pictures(in_all=task.pictures + task.level_pictures, in_full=task.pictures)
    for grid in grids:
        check_replaceable(folder, facts, grid.steps, pictures, even_if_fewer=task.replace)
    free_bytes = memory_of(device, weights_bytes=lambda: 0, limit_bytes=None).read().free_bytes
    gang = InProcessGang(load_members(first, task.members, load, free_bytes=free_bytes))
    partials = [_partial(folder, task, facts, grid) for grid in grids]  # all of them before hours of work
    run = _Run(gang, grids, task, say)
    for grid, partial in zip(grids, partials, strict=True):
        calibration = sum_up(run.measure(grid, partial), grid, measured_as(facts), members=gang.size)
        path = write_calibration(folder, facts, calibration, _made(task, facts), even_if_fewer=task.replace)
    for partial in partials:  # not before all lengths are done: run again, the same command measures none of them twice
        partial.remove()
    say(
        written=str(path),
        pictures=pictures.in_all,
        steps=",".join(str(grid.steps) for grid in grids),
        sampler=facts.samplers[0],
    )


def _check_sampler(facts: ModelFacts) -> None:
    """Raises InvalidArgumentError: no plan for the model's sampler skips a step, and that is what is measured."""
    sampler = facts.samplers[0]
    if sampler in facts.full_rate_samplers:
        message = f"its sampler {sampler} makes every step on every device, so that no plan of it needs a calibration"
        raise InvalidArgumentError.of("--model", message)


def _grids(task: Task, denoiser: Denoiser) -> list[Grid]:
    """What is measured of each length.

    Raises:
        InvalidArgumentError: the model's own length is too short, or its schedule has not so many steps.
    """
    facts = denoiser.facts
    if not task.steps and facts.default_steps < STEPS_MIN:
        message = (
            f"must be named: {STEPS_MIN} or more can be measured, and the model's default is {facts.default_steps}"
        )
        raise InvalidArgumentError.of("--steps", message)
    lengths = task.steps or (facts.default_steps,)
    for steps in lengths:
        denoiser.check_steps(facts.samplers[0], steps)
    return [grid_of(steps, facts.samplers[0]) for steps in lengths]


def _check_prompts(task: Task, denoiser: Denoiser) -> None:
    """Raises InvalidArgumentError: the model does not take one of the prompts, which else would be told after hours."""
    limit = denoiser.facts.token_limit
    for prompt in task.prompts[: task.pictures + task.level_pictures]:
        shown = repr(prompt if len(prompt) <= SHOWN_CHARACTERS else f"{prompt[:SHOWN_CHARACTERS]}...")
        try:
            tokens = denoiser.count_tokens(prompt)
        except InvalidArgumentError as error:
            raise InvalidArgumentError.of("--prompts", f"{shown} is none for this model: {error}") from error
        if tokens > limit:
            raise InvalidArgumentError.of("--prompts", f"{shown} has {tokens} tokens, the model reads {limit}")


def _partial(folder: Path, task: Task, facts: ModelFacts, grid: Grid) -> PartialFile:
    """What an earlier run has measured of the same, on the same software."""
    subject = {
        "fingerprint": facts.fingerprint,
        "grid": asdict(grid),
        "joints": [asdict(joint) for joint in joints(grid, members=task.members)],
        "measured_as": asdict(measured_as(facts)),
        "dtype": facts.dtype,
        "device": task.device,
        "members": task.members,
        "software": {each.name: each.version for each in software_versions()},
    }
    return PartialFile(folder, f"{facts.samplers[0]}-{grid.steps}", subject)
