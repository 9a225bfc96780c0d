"""Options of the command that measures a model, checked before torch is imported: wrong ones are told at once."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from polyrhythm.calibration import PICTURES_MAX, STEPS_MAX
from polyrhythm.errors import InvalidArgumentError
from polyrhythm.loading_choices import DtypeChoice
from polyrhythm.shipped_models import DEFAULT_MODEL, SHIPPED_MODELS
from polyrhythm_agent.calibration.probes import MEMBERS_MAX, MEMBERS_MIN, STEPS_MIN
from polyrhythm_agent.calibration.prompts import read_prompts
from polyrhythm_agent.model_folder import FoundModel, find_model
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
        help="compute threads of each member (default: half of the cores)",
    )
    add(
        "--steps",
        metavar="N[,N..]",
        help="lengths to measure, one after another; what lies between two of them is interpolated (default: the "
        "model's default)",
    )
    add("--pictures", type=int, default=8, metavar="N", help="pictures to measure in full (default: 8)")
    add(
        "--level-pictures",
        type=int,
        default=56,
        metavar="N",
        help="further pictures, of which only is measured how touchy they are (default: 56)",
    )
    add(
        "--members",
        type=int,
        default=MEMBERS_MAX,
        metavar="N",
        help=f"largest gang to measure, with so many copies of the denoiser ({MEMBERS_MIN}..{MEMBERS_MAX}, default: "
        f"{MEMBERS_MAX})",
    )
    add(
        "--replace",
        action="store_true",
        help="write the file even if it holds a calibration of more pictures for the same sampler and length",
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
        steps: lengths of grids, ascending; empty leaves it to the model.
        pictures: how many to measure in full.
        level_pictures: how many more to measure how touchy pictures are.
        prompts: what they show.
        members: of the largest gang that is measured.
        replace: whether a calibration of more pictures may be replaced.
    """

    model: FoundModel
    device: str
    dtype: str
    threads: int | None
    steps: tuple[int, ...]
    pictures: int
    level_pictures: int
    prompts: tuple[str, ...]
    members: int
    replace: bool


def read_task(arguments: argparse.Namespace) -> Task:
    """What the options ask for.

    Raises:
        InvalidArgumentError: an option is wrong.
        PolyrhythmError: the model cannot be had.
    """
    _check_counts(arguments)
    steps = _read_steps(arguments.steps)
    _check_device(arguments.device)
    prompts = read_prompts(arguments.prompts)  # before the model, which the hub may have to send first
    return Task(
        model=find_model(arguments.model, configs=arguments.model_config),
        device=arguments.device,
        dtype=arguments.dtype,
        threads=arguments.threads,
        steps=steps,
        pictures=arguments.pictures,
        level_pictures=arguments.level_pictures,
        prompts=prompts,
        members=arguments.members,
        replace=arguments.replace,
    )


def _check_counts(arguments: argparse.Namespace) -> None:
    for name, value, least in (
        ("--threads", arguments.threads, 1),
        ("--pictures", arguments.pictures, 1),
        ("--level-pictures", arguments.level_pictures, 0),
    ):
        if value is not None and value < least:
            raise InvalidArgumentError.of(name, f"must be at least {least}, got {value}")
    pictures = arguments.pictures + arguments.level_pictures
    if pictures > PICTURES_MAX:
        raise InvalidArgumentError.of(
            "--pictures", f"must be at most {PICTURES_MAX} together with --level-pictures, got {pictures}"
        )
    if not MEMBERS_MIN <= arguments.members <= MEMBERS_MAX:
        raise InvalidArgumentError.of("--members", f"must be {MEMBERS_MIN}..{MEMBERS_MAX}, got {arguments.members}")


def _read_steps(text: str | None) -> tuple[int, ...]:
    """Lengths, each once."""
    if text is None:
        return ()
    try:
        lengths = sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise InvalidArgumentError.of("--steps", f"must be whole numbers with commas between, got {text!r}") from error
    if lengths[0] < STEPS_MIN or lengths[-1] > STEPS_MAX:
        wrong = lengths[0] if lengths[0] < STEPS_MIN else lengths[-1]
        raise InvalidArgumentError.of("--steps", f"must be {STEPS_MIN}..{STEPS_MAX}, got {wrong}")
    return tuple(lengths)


def _check_device(name: str) -> None:
    try:
        check_device_name(name)
    except ValueError as error:
        raise InvalidArgumentError.of("--device", str(error)) from error
    obstacle = cuda_obstacle() if name != "cpu" else ""
    if obstacle:
        raise InvalidArgumentError.of("--device", f"{name} cannot be used: {obstacle}")
