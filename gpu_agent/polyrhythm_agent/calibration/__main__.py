"""``polyrhythm-agent calibrate``: measures a model and writes the file beside it. Command line and composition root.

Prints one JSON object a line: progress, and at the end what was written.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import torch

from polyrhythm.calibration import Calibration
from polyrhythm.errors import InvalidArgumentError, PolyrhythmError
from polyrhythm.facts import ModelFacts
from polyrhythm.image import ImageSpec
from polyrhythm_agent.calibration.file import write_calibration
from polyrhythm_agent.calibration.gang import InProcessGang
from polyrhythm_agent.calibration.measure import measure_level, measure_picture, picture_of, probe_count, sum_up
from polyrhythm_agent.calibration.probes import MEMBERS, STEPS_MIN, Grid, grid_of
from polyrhythm_agent.calibration.prompts import read_prompts
from polyrhythm_agent.denoiser.checkpoint import diffusers_folder
from polyrhythm_agent.denoiser.loading import DTYPES, load_denoiser
from polyrhythm_agent.log_setup import configure_log
from polyrhythm_agent.model_folder import ModelFolder, cache_folder, find_model
from polyrhythm_agent.software import software_versions
from polyrhythm_agent.torch_build import cuda_obstacle

FIRST_SEED = 40_000
"""Of the first picture; the others count up. Nothing else in this project measures with these."""
EXIT_FAILED, EXIT_BAD_INPUT = 1, 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="polyrhythm-agent calibrate",
        description="Measures what stale activations and merged steps cost on a model, and writes calibration.json "
        "into its folder (that of a checkpoint file lies in the cache).",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--model",
        default="demo",
        metavar="MODEL",
        help="what to measure: demo, a folder, a checkpoint file or ORG/NAME of the hub (default: demo)",
    )
    parser.add_argument("--model-config", metavar="FOLDER", help="configs and tokenizers of a checkpoint file")
    parser.add_argument("--device", default="cpu", metavar="cpu|cuda:N", help="what to compute on (default: cpu)")
    parser.add_argument("--dtype", default="float32", choices=tuple(DTYPES), help="arithmetic (default: float32)")
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="compute threads of each of the two members (default: half of the cores)",
    )
    parser.add_argument("--steps", type=int, metavar="N", help="steps of the grid (default: the model's)")
    parser.add_argument("--pictures", type=int, default=8, metavar="N", help="pictures to measure in full (default: 8)")
    parser.add_argument(
        "--level-pictures",
        type=int,
        default=16,
        metavar="N",
        help="further pictures, of which only is measured how touchy they are (default: 16)",
    )
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="one prompt a line (default: plain objects)")
    parser.add_argument("--lifeline-fd", type=int, metavar="FD", help="end when this inherited pipe ends")
    return parser


def _check(arguments: argparse.Namespace) -> None:
    for name, value, least in (
        ("--threads", arguments.threads, 1),
        ("--steps", arguments.steps, STEPS_MIN),
        ("--pictures", arguments.pictures, 1),
        ("--level-pictures", arguments.level_pictures, 0),
    ):
        if value is not None and value < least:
            raise InvalidArgumentError.of(name, f"must be at least {least}, got {value}")


def _device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        InvalidArgumentError: there is none, or this build of torch cannot use it.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise InvalidArgumentError.of("--device", f"must be cpu or cuda:N, got {name!r}")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        obstacle = cuda_obstacle() or (f"torch finds {count} CUDA devices" if (device.index or 0) >= count else "")
        if obstacle:
            raise InvalidArgumentError.of("--device", f"{name} cannot be used: {obstacle}")
    return device


def _say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def _end_with(lifeline_fd: int) -> None:
    """Ends this process when the pipe does, wherever it is."""

    def watch() -> None:
        while os.read(lifeline_fd, 1):
            pass
        os._exit(EXIT_FAILED)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def _measure(
    gang: InProcessGang, grid: Grid, prompts: Sequence[str], pictures: int, levels: int, facts: ModelFacts
) -> Calibration:
    done, total = 0, pictures * probe_count(grid) + levels * probe_count(grid, full=False)

    def count() -> None:
        nonlocal done
        done += 1
        _say(done=done, total=total)

    def picture(index: int) -> ImageSpec:
        return picture_of(facts, prompts[index % len(prompts)], FIRST_SEED + index, grid.steps)

    _say(done=done, total=total)
    full = [measure_picture(gang, picture(index), grid, count) for index in range(pictures)]
    further = [measure_level(gang, picture(pictures + index), grid, count) for index in range(levels)]
    return sum_up(full, further, grid, facts.samplers[0])


def _made(arguments: argparse.Namespace, facts: ModelFacts, prompts: Sequence[str]) -> dict[str, object]:
    """How it was measured, for people who read the file."""
    return {
        "command": "polyrhythm calibrate",
        "size": f"{facts.default_width_px}x{facts.default_height_px}",
        "guidance": facts.default_guidance,
        "dtype": arguments.dtype,
        "device": arguments.device,
        "pictures_in_full": arguments.pictures,
        "pictures_for_the_level": arguments.level_pictures,
        "first_seed": FIRST_SEED,
        "prompts": list(prompts[: arguments.pictures + arguments.level_pictures]),
        "software": dict(software_versions()),
    }


def calibrate(arguments: argparse.Namespace) -> None:
    """Measures and writes.

    Raises:
        PolyrhythmError: an option is wrong, or the model cannot be loaded or makes no such picture.
    """
    _check(arguments)
    device = _device(arguments.device)
    model: ModelFolder = find_model(arguments.model, configs=arguments.model_config)
    prompts = read_prompts(arguments.prompts)
    torch.set_num_threads(arguments.threads or max(1, len(os.sched_getaffinity(0)) // len(MEMBERS)))
    dtype = DTYPES[arguments.dtype]
    folder = diffusers_folder(model.path, model.configs, cache=cache_folder(os.environ))
    gang = InProcessGang([load_denoiser(folder, model=model.name, dtype=dtype, device=device) for _ in MEMBERS])
    facts = gang.denoiser.facts
    grid = grid_of(arguments.steps or facts.default_steps, facts.samplers[0])
    calibration = _measure(gang, grid, prompts, arguments.pictures, arguments.level_pictures, facts)
    path = write_calibration(folder, facts, calibration, _made(arguments, facts, prompts))
    _say(written=str(path), pictures=calibration.pictures, steps=grid.steps, sampler=facts.samplers[0])


def main() -> int:
    """Runs the command; returns its exit code."""
    arguments = _parser().parse_args()
    configure_log("calibrate")
    if arguments.lifeline_fd is not None:
        _end_with(arguments.lifeline_fd)
    try:
        calibrate(arguments)
    except PolyrhythmError as error:
        sys.stderr.write(f"polyrhythm-agent calibrate: {error}\n")
        return EXIT_BAD_INPUT if isinstance(error, InvalidArgumentError) else EXIT_FAILED
    except OSError as error:
        sys.stderr.write(f"polyrhythm-agent calibrate: the file cannot be written: {error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
