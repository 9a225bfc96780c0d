"""Options of the command that measures a model, checked before torch is imported: wrong ones are told at once."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.loading_choices import DtypeChoice
from polyrhythm.shipped_models import DEFAULT_MODEL, SHIPPED_MODELS
from polyrhythm_agent.calibration.probes import STEPS_MIN
from polyrhythm_agent.calibration.prompts import read_prompts
from polyrhythm_agent.model_folder import ModelFolder, find_model
from polyrhythm_agent.settings import check_device_name
from polyrhythm_agent.torch_build import cuda_obstacle


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    options = argparse.ArgumentParser(
        prog="polyrhythm-agent calibrate",
        description="Measures what stale activations and merged steps cost on a model, and writes calibration.json "
        "into its folder (that of a checkpoint file lies in the cache).",
        allow_abbrev=False,
    )
    add = options.add_argument
    add(
        "--model",
        default=DEFAULT_MODEL,
        metavar="MODEL",
        help=f"what to measure: {', '.join(SHIPPED_MODELS)}, a folder, a checkpoint file or ORG/NAME of the hub "
        f"(default: {DEFAULT_MODEL})",
    )
    add("--model-config", metavar="FOLDER", help="configs and tokenizers of a checkpoint file")
    add("--device", default="cpu", metavar="cpu|cuda:N", help="what to compute on (default: cpu)")
    add(
        "--dtype",
        default=DtypeChoice.AUTO,
        choices=[choice.value for choice in DtypeChoice],
        help="arithmetic (default: auto, by the device)",
    )
    add(
        "--threads",
        type=int,
        metavar="N",
        help="compute threads of each of the two members (default: half of the cores)",
    )
    add("--steps", type=int, metavar="N", help="steps of the grid (default: the model's)")
    add("--pictures", type=int, default=8, metavar="N", help="pictures to measure in full (default: 8)")
    add(
        "--level-pictures",
        type=int,
        default=16,
        metavar="N",
        help="further pictures, of which only is measured how touchy they are (default: 16)",
    )
    add("--prompts", type=Path, metavar="FILE", help="one prompt a line (default: plain objects)")
    add("--lifeline-fd", type=int, metavar="FD", help="end when this inherited pipe ends")
    return options


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to measure, as far as can be said without a device or a model's weights.

    Attributes:
        model: where it lies.
        device: ``cpu`` or ``cuda:N``.
        dtype: name of the arithmetic, or ``auto``.
        threads: compute threads of each member; None leaves it to the machine.
        steps: of the grid; None leaves it to the model.
        pictures: how many to measure in full.
        level_pictures: how many more to measure how touchy pictures are.
        prompts: what they show.
    """

    model: ModelFolder
    device: str
    dtype: str
    threads: int | None
    steps: int | None
    pictures: int
    level_pictures: int
    prompts: tuple[str, ...]


def read_task(arguments: argparse.Namespace) -> Task:
    """What the options ask for.

    Raises:
        InvalidArgumentError: an option is wrong.
        PolyrhythmError: the model cannot be had.
    """
    _check_counts(arguments)
    _check_device(arguments.device)
    prompts = read_prompts(arguments.prompts)  # before the model, which the hub may have to send first
    return Task(
        model=find_model(arguments.model, configs=arguments.model_config),
        device=arguments.device,
        dtype=arguments.dtype,
        threads=arguments.threads,
        steps=arguments.steps,
        pictures=arguments.pictures,
        level_pictures=arguments.level_pictures,
        prompts=prompts,
    )


def _check_counts(arguments: argparse.Namespace) -> None:
    for name, value, least in (
        ("--threads", arguments.threads, 1),
        ("--steps", arguments.steps, STEPS_MIN),
        ("--pictures", arguments.pictures, 1),
        ("--level-pictures", arguments.level_pictures, 0),
    ):
        if value is not None and value < least:
            raise InvalidArgumentError.of(name, f"must be at least {least}, got {value}")


def _check_device(name: str) -> None:
    try:
        check_device_name(name)
    except ValueError as error:
        raise InvalidArgumentError.of("--device", str(error)) from error
    obstacle = cuda_obstacle() if name != "cpu" else ""
    if obstacle:
        raise InvalidArgumentError.of("--device", f"{name} cannot be used: {obstacle}")
