"""What is wrong with an option of a calibration is said with the option's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm_agent.calibration.options import parser, read_task
from polyrhythm_agent.calibration.prompts import PROMPTS


def test_the_defaults_are_the_demo_model_on_the_cpu() -> None:
    task = read_task(parser().parse_args([]))
    assert (task.model.name, task.device, task.dtype, task.pictures) == ("demo-unet", "cpu", "auto", 8)
    assert (task.steps, task.threads, task.prompts) == ((), None, PROMPTS)
    assert task.pictures + task.level_pictures == len(PROMPTS) == len(set(PROMPTS)) == 64


def test_lengths_are_measured_in_order_and_once() -> None:
    task = read_task(parser().parse_args(["--steps", "50,8,20,8"]))
    assert task.steps == (8, 20, 50)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--steps", "20,3"), "--steps: must be 8..250, got 3"),
        (("--steps", "20,300"), "--steps: must be 8..250, got 300"),
        (("--steps", "20;30"), "--steps: must be whole numbers with commas between, got '20;30'"),
        (("--members", "5"), "--members: must be 2..4, got 5"),
        (("--threads", "0"), "--threads: must be at least 1, got 0"),
        (("--pictures", "0"), "--pictures: must be at least 1, got 0"),
        (("--level-pictures", "-1"), "--level-pictures: must be at least 0, got -1"),
        (
            ("--pictures", "1000000000000"),
            r"--pictures: must be at most 1024 together with --level-pictures, got 1000000000056",
        ),
        (("--level-pictures", "1017"), "--pictures: must be at most 1024 together with --level-pictures, got 1025"),
        (("--device", "toaster"), "--device: must be cpu or cuda:N"),
        (("--prompts", "none"), "--prompts: none cannot be read"),
        (("--model-config", "."), "--model-config"),
        (("--model", "missing"), "--model"),
    ],
)
def test_bad_input_names_the_option(
    arguments: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgumentError, match=told):
        read_task(parser().parse_args(arguments))
