"""What a calibration refuses once the model is loaded: in one line that names the option, before its hours of work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler, LCMScheduler

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_agent.calibration.command import calibrate
from polyrhythm_agent.calibration.members import load_members
from polyrhythm_agent.calibration.options import Task
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.model_files.model_folder import FoundModel
from tests.tiny_models.transformers import tiny_pixart_folder
from tests.tiny_models.unets import tiny_sd_folder


def task_of(folder: Path) -> Task:
    return Task(
        model=FoundModel(name="tiny", path=folder),
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixart_folder(tmp_path_factory.mktemp("model") / "tiny")


def refused(task: Task, told: str) -> None:
    before = set(os.listdir(task.model.path))
    with pytest.raises(InvalidArgumentError, match=told):
        calibrate(task, lambda **_said: None)
    assert set(os.listdir(task.model.path)) == before


def test_a_folder_that_takes_no_file_is_told_before_anything_is_loaded() -> None:
    """Not even root may make files there; and no model lies there, which is told of where it is to be loaded."""
    with pytest.raises(
        InvalidArgumentError, match=r"^--model: a calibration cannot be written into /proc/self: No such"
    ):
        calibrate(task_of(Path("/proc/self")), lambda **_said: None)


class EndedError(Exception):
    """Of a calibration that is ended by hand."""


def test_every_file_of_a_calibration_is_tried_before_anything_is_measured(tmp_path: Path) -> None:
    task = replace(task_of(tiny_pixart_folder(tmp_path / "tiny")), steps=(8, 10))

    def end(**_said: object) -> None:
        raise EndedError

    with pytest.raises(EndedError):
        calibrate(task, end)
    (last,) = task.model.path.glob("calibration-*-10-*.partial")
    last.unlink()
    last.mkdir()
    said = list[object]()
    with pytest.raises(InvalidArgumentError, match="--model: a calibration cannot be written into"):
        calibrate(task, lambda **told: said.append(told))
    assert not said


def test_a_calibration_in_a_folder_that_was_deleted_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    command = [sys.executable, "-m", "polyrhythm_agent.calibration", "--model", "demo-unet", "--steps", "8"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    told = (
        "polyrhythm-agent calibrate: the current folder does not exist any more, and libraries of the calibration need"
    )
    assert (ended.returncode, ended.stderr.startswith(told)) == (1, True)


@pytest.mark.parametrize(
    ("scheduler", "sampler"), [(LCMScheduler(), "lcm"), (EulerAncestralDiscreteScheduler(), "euler-ancestral")]
)
def test_a_model_whose_sampler_makes_every_step_is_not_calibrated(tmp_path: Path, scheduler: Any, sampler: str) -> None:
    made = tiny_pixart_folder(tmp_path, scheduler=scheduler)
    refused(task_of(made), f"model: its sampler {sampler} makes every step")


def test_a_default_length_that_is_too_short_is_told(tmp_path: Path) -> None:
    made = tiny_sd_folder(tmp_path / "sd", scheduler=DDIMScheduler())
    index = json.loads((made / "model_index.json").read_text())
    (made / "model_index.json").write_text(json.dumps({**index, "_class_name": "LatentConsistencyModelPipeline"}))
    refused(task_of(made), r"--steps: must be named: 8 or more can be measured, and the model's default is 4")


@pytest.mark.parametrize("prompts", [("a cat", "cat " * 200), ("cat " * 200,)], ids=["the last", "the only"])
def test_a_prompt_that_the_model_does_not_take_is_told(folder: Path, prompts: tuple[str, ...]) -> None:
    refused(
        replace(task_of(folder), prompts=prompts, pictures=len(prompts)),
        r"--prompts: '(cat ){15}\.\.\.' has 201 tokens, the model reads 120",
    )


def test_copies_that_do_not_fit_are_not_loaded(folder: Path) -> None:
    first, loaded = load_denoiser(folder, model="tiny"), list[int]()
    memory = first.facts.memory
    assert memory is not None

    def load() -> Any:
        loaded.append(1)
        return first

    with pytest.raises(InvalidArgumentError, match=r"--members: 3 more copies of the denoiser take .* MiB are free"):
        load_members(first, 4, load, free_bytes=3 * memory.denoiser_bytes - 1)
    assert not loaded
    assert load_members(first, 4, load, free_bytes=3 * memory.denoiser_bytes) == (first,) * 4


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory\nException raised from x"),
        MemoryError("Unable to allocate 4. GiB for an array"),
    ],
    ids=["device", "host", "numpy"],
)
def test_memory_that_runs_out_is_told_by_the_option(folder: Path, error: Exception) -> None:
    def say(**_said: object) -> None:
        raise error

    first_line = str(error).partition("\n")[0]
    with pytest.raises(InvalidArgumentError) as caught:
        calibrate(task_of(folder), say)
    assert str(caught.value) == f"--members: the memory does not suffice for 2 copies of the denoiser ({first_line})"
