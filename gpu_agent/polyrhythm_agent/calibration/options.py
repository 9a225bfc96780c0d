"""Options of the command that measures a model, checked before torch is imported: wrong ones are told at once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.model.calibration import PICTURES_MAX, STEPS_MAX
from polyrhythm.model.loading_choices import DtypeChoice
from polyrhythm.model.shipped_models import DEFAULT_MODEL, SHIPPED_MODELS
from polyrhythm.process.environment import Daemon, read_variables
from polyrhythm_agent.calibration.probes import MEMBERS_MAX, MEMBERS_MIN, STEPS_MIN
from polyrhythm_agent.calibration.prompts import read_prompts
from polyrhythm_agent.host.torch_build import cuda_obstacle
from polyrhythm_agent.model_files.model_folder import FoundModel, find_model
from polyrhythm_agent.settings import OPTIONS as AGENT_OPTIONS
from polyrhythm_agent.settings import check_device_name

OPTION_BY_SETTING = {
    name: AGENT_OPTIONS[name] for name in ("model", "model_config_folder", "device", "dtype", "threads")
}
"""Options that mean to a calibration what they mean to an agent, and are set by the same variables."""


def parser() -> argparse.ArgumentParser:
    """Options of the command; None stands for one of an agent's that is not given."""
    options = argparse.ArgumentParser(
        prog="polyrhythm-agent calibrate",
        description="Measures what stale activations and merged steps cost on a model, and writes calibration.json "
        "into its folder (that of a checkpoint file lies in the cache).",
        epilog=f"{', '.join(OPTION_BY_SETTING.values())} may be set by the variables of agents as well, such as "
        f"{Daemon.AGENT}MODEL; an option wins.",
        allow_abbrev=False,
    )
    add = options.add_argument
    add(
        "--model",
        metavar="MODEL",
        help=f"what to measure: {', '.join(SHIPPED_MODELS)}, a folder, a checkpoint file or ORG/NAME of the hub "
        f"(default: {DEFAULT_MODEL})",
    )
    add("--model-config", metavar="FOLDER", help="configs and tokenizers of a checkpoint file")
    add("--device", metavar="cpu|cuda:N", help="what to compute on (default: cpu)")
    add(
        "--dtype",
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


def with_variables(
    arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> tuple[argparse.Namespace, frozenset[str]]:
    """What is asked for, by options and, where one of an agent's is not given, by the agents' variable.

    Args:
        arguments: as parsed.
        environment: of this process.

    Returns:
        Both together, and the options whose values come from the environment.

    Raises:
        InvalidArgumentError: names every variable that nobody knows.
    """
    variables = read_variables(environment, Daemon.AGENT, AGENT_OPTIONS)
    found = {
        option: variables[name]
        for name, option in OPTION_BY_SETTING.items()
        if name in variables and getattr(arguments, _attribute(option)) is None
    }
    values = {_attribute(option): value for option, value in found.items()}
    return argparse.Namespace(**{**vars(arguments), **values}), frozenset(found)


def _attribute(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def read_task(arguments: argparse.Namespace) -> Task:
    """What the options ask for.

    Raises:
        InvalidArgumentError: an option is wrong.
        PolyrhythmError: the model cannot be had.
    """
    threads = _read_threads(arguments.threads)
    _check_counts(arguments)
    steps = _read_steps(arguments.steps)
    device = "cpu" if arguments.device is None else arguments.device
    _check_device(device)
    dtype = _read_dtype(arguments.dtype)
    prompts = read_prompts(arguments.prompts)  # before the model, which the hub may have to send first
    model = DEFAULT_MODEL if arguments.model is None else arguments.model
    return Task(
        model=find_model(model, configs=arguments.model_config),
        device=device,
        dtype=dtype,
        threads=threads,
        steps=steps,
        pictures=arguments.pictures,
        level_pictures=arguments.level_pictures,
        prompts=prompts,
        members=arguments.members,
        replace=arguments.replace,
    )


def _check_counts(arguments: argparse.Namespace) -> None:
    for name, value, least in (
        ("--pictures", arguments.pictures, 1),
        ("--level-pictures", arguments.level_pictures, 0),
    ):
        if value < least:
            raise InvalidArgumentError.of(name, f"must be at least {least}, got {value}")
    pictures = arguments.pictures + arguments.level_pictures
    if pictures > PICTURES_MAX:
        raise InvalidArgumentError.of(
            "--pictures", f"must be at most {PICTURES_MAX} together with --level-pictures, got {pictures}"
        )
    if not MEMBERS_MIN <= arguments.members <= MEMBERS_MAX:
        raise InvalidArgumentError.of("--members", f"must be {MEMBERS_MIN}..{MEMBERS_MAX}, got {arguments.members}")


def _read_threads(value: int | str | None) -> int | None:
    """A number as parsed, or the text of a variable."""
    try:
        threads = None if value is None else int(value)
    except ValueError as error:
        raise InvalidArgumentError.of("--threads", f"must be a whole number, got {value!r}") from error
    if threads is not None and threads < 1:
        raise InvalidArgumentError.of("--threads", f"must be at least 1, got {threads}")
    return threads


def _read_dtype(name: str | None) -> DtypeChoice:
    try:
        return DtypeChoice.AUTO if name is None else DtypeChoice(name)
    except ValueError as error:
        raise InvalidArgumentError.of("--dtype", f"must be one of {', '.join(DtypeChoice)}, got {name!r}") from error


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
