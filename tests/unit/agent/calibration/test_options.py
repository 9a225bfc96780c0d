"""What is wrong with an option of a calibration is said with the option's name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.model.loading_choices import DtypeChoice
from polyrhythm_agent.calibration.options import parser, read_task, with_variables
from polyrhythm_agent.calibration.prompts import PROMPTS


def test_the_defaults_are_the_demo_model_on_the_cpu() -> None:
    task = read_task(parser().parse_args([]))
    assert (task.model.name, task.device, task.dtype, task.pictures) == ("demo-unet", "cpu", DtypeChoice.AUTO, 8)
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


OF_AGENTS = {
    "POLYRHYTHM_AGENT_MODEL": "demo-transformer",
    "POLYRHYTHM_AGENT_DTYPE": "float64",
    "POLYRHYTHM_AGENT_THREADS": "3",
    "POLYRHYTHM_AGENT_NAME": "of no calibration",
}


def test_what_agents_are_told_by_variables_counts_for_a_calibration_too() -> None:
    arguments, variables = with_variables(parser().parse_args(["--threads", "2"]), OF_AGENTS)
    task = read_task(arguments)
    assert (task.model.name, task.dtype, task.threads) == ("demo-transformer", DtypeChoice.FLOAT64, 2)
    assert variables == {"--model", "--dtype"}
    assert read_task(with_variables(parser().parse_args([]), OF_AGENTS)[0]).threads == 3


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("POLYRHYTHM_AGENT_THREADS", "two", "must be a whole number, got 'two'"),
        ("POLYRHYTHM_AGENT_THREADS", "0", "must be at least 1, got 0"),
        ("POLYRHYTHM_AGENT_DTYPE", "float8", "must be one of auto, "),
        ("POLYRHYTHM_AGENT_DEVICE", "toaster", "must be cpu or cuda:N"),
        ("POLYRHYTHM_AGENT_MODEL", "/nowhere", "/nowhere does not exist"),
        ("POLYRHYTHM_AGENT_DTYP", "float16", "no process of Polyrhythm knows this variable"),
        ("POLYRHYTHM_AGNET_NAME", "a", "no process of Polyrhythm knows this variable"),
    ],
)
def test_a_calibration_names_the_variable_that_is_wrong(variable: str, value: str, told: str) -> None:
    command = [sys.executable, "-m", "polyrhythm_agent.calibration"]
    ended = subprocess.run(
        command, env=os.environ | {variable: value}, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"polyrhythm-agent calibrate: {variable}: {told}")
