"""Command line of the simulator: a described fleet in, one JSON object on standard output.

``polyrhythm simulate`` starts this and shows its result; it can be used without the client.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyrhythm.errors import ErrorCode, InvalidArgumentError, PolyrhythmError
from polyrhythm.image import ImageRequest, Objective, Quality, Sampler
from polyrhythm.request_checks import check_request
from polyrhythm_coordinator.simulation.fit import fit_fleet
from polyrhythm_coordinator.simulation.fleet_file import read_fleet
from polyrhythm_coordinator.simulation.fleet_text import fleet_text
from polyrhythm_coordinator.simulation.outcome import Outcome, as_json, fastest_alone, simulate
from polyrhythm_coordinator.simulation.run_report import read_report

PROGRAM = "python -m polyrhythm_coordinator.simulation"
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
BAD_INPUT_CODES = frozenset({ErrorCode.INVALID_ARGUMENT, ErrorCode.NOT_FOUND})


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one simulation.

    Returns:
        The exit code: 0; 1 where the simulated job fails (its account is printed all the same), or the chart cannot be
        drawn; 2 for bad input. Errors go to standard error, a line a field.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.fit is None) != (options.output is None):
        parser.error("--fit and --output go together")
    try:
        account, code = _describe(options) if options.devices is None else _simulate(options)
    except PolyrhythmError as error:
        lines = [str(error)]
        if isinstance(error, InvalidArgumentError):
            lines = [f"{violation.field}: {violation.description}" for violation in error.violations]
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        return EXIT_BAD_INPUT if error.code in BAD_INPUT_CODES else EXIT_FAILED
    json.dump(account, sys.stdout)
    sys.stdout.write("\n")
    return code


def _simulate(options: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """The account of a simulation and the exit code."""
    request = ImageRequest(
        prompt="simulated",
        width_px=options.width,
        height_px=options.height,
        steps=options.steps,
        guidance=options.guidance,
        sampler=None if options.sampler is None else Sampler(options.sampler),
        quality=None if options.quality is None else Quality(options.quality),
        objective=None if options.objective is None else Objective(options.objective),
        count=options.count,
    )
    check_request(request)
    fleet = read_fleet(options.devices)
    outcome = simulate(fleet, request)
    if options.gantt is not None:
        _draw(outcome, options.gantt)
    if outcome.error:
        return as_json(outcome), EXIT_FAILED
    return as_json(outcome, fastest_alone(fleet, request)), 0


def _describe(options: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """Writes the fleet of a real run down."""
    fit = fit_fleet(read_report(options.fit))
    text = fleet_text(fit.fleet, origin=f"Fitted to one run: {fit.summary}.")
    try:
        options.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidArgumentError.of("output", f"{options.output} cannot be written: {error.strerror}") from error
    return {"summary": fit.summary, "notices": list(fit.notices)}, 0


def _draw(outcome: Outcome, path: Path) -> None:
    from polyrhythm_coordinator.simulation.gantt import draw  # matplotlib is slow to load, and may be missing

    draw(outcome, path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__, allow_abbrev=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--devices", type=Path, metavar="FILE", help="fleet.toml; see docs/simulate.md")
    source.add_argument("--fit", type=Path, metavar="REPORT", help="describe a fleet from a run's JSON instead")
    parser.add_argument("--output", type=Path, metavar="FILE", help="with --fit: the fleet.toml to write")
    parser.add_argument("--width", type=int, metavar="PX", help="of the picture; default: the model's")
    parser.add_argument("--height", type=int, metavar="PX", help="of the picture; default: the model's")
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps; default: the model's")
    parser.add_argument("--guidance", type=float, metavar="X", help="1 halves the batch; default: the model's")
    parser.add_argument("--sampler", choices=[sampler.value for sampler in Sampler], help="default: the model's")
    parser.add_argument("--quality", choices=[quality.value for quality in Quality], help="default: balanced")
    objectives = [objective.value for objective in Objective]
    parser.add_argument("--objective", choices=objectives, help="default: latency")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="pictures to make (default 1)")
    parser.add_argument("--gantt", type=Path, metavar="FILE", help="also draw the timeline into this PNG file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
