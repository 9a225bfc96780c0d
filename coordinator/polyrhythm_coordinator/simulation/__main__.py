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
from polyrhythm_coordinator.simulation.description import FleetDescription
from polyrhythm_coordinator.simulation.fit import fit_fleet
from polyrhythm_coordinator.simulation.fleet_file import read_fleet
from polyrhythm_coordinator.simulation.fleet_text import fleet_text
from polyrhythm_coordinator.simulation.outcome import Outcome, as_json, fastest_alone, simulate
from polyrhythm_coordinator.simulation.preset_fleet import NOTICE, preset_fleet
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
    if options.fit is not None and options.output is None:
        parser.error("--fit goes with --output")
    if options.output is not None and options.devices is not None:
        parser.error("--output goes with --fit or --cards")
    if (options.cards is None) != (options.model_preset is None):
        parser.error("--cards and --model-preset go together")
    try:
        account, code = _describe(options) if options.fit is not None else _simulate(options)
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
    fleet = read_fleet(options.devices) if options.cards is None else _preset(options)
    outcome = simulate(fleet, request)
    if options.gantt is not None:
        _draw(outcome, options.gantt)
    account = as_json(outcome, None if outcome.error else fastest_alone(fleet, request))
    if options.cards is not None:
        account["notices"].append(NOTICE)
    return account, EXIT_FAILED if outcome.error else 0


def _preset(options: argparse.Namespace) -> FleetDescription:
    """A fleet of cards by their data sheets, also written down where that is asked for."""
    fleet = preset_fleet([name.strip() for name in options.cards.split(",")], options.model_preset)
    if options.output is not None:
        _write(fleet, f"Preset, not measured: {options.cards} with {options.model_preset}.", options.output)
    return fleet


def _describe(options: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """Writes the fleet of a real run down."""
    fit = fit_fleet(read_report(options.fit))
    _write(fit.fleet, f"Fitted to one run: {fit.summary}.", options.output)
    return {"summary": fit.summary, "notices": list(fit.notices)}, 0


def _write(fleet: FleetDescription, origin: str, path: Path) -> None:
    try:
        path.write_text(fleet_text(fleet, origin=origin), encoding="utf-8")
    except OSError as error:
        raise InvalidArgumentError.of("output", f"{path} cannot be written: {error.strerror}") from error


def _draw(outcome: Outcome, path: Path) -> None:
    from polyrhythm_coordinator.simulation.gantt import draw  # matplotlib is slow to load, and may be missing

    draw(outcome, path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__, allow_abbrev=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--devices", type=Path, metavar="FILE", help="fleet.toml; see docs/simulate.md")
    source.add_argument("--fit", type=Path, metavar="REPORT", help="describe a fleet from a run's JSON instead")
    source.add_argument("--cards", metavar="A,B,...", help="cards by their data sheets instead; with --model-preset")
    parser.add_argument("--model-preset", metavar="NAME", help="with --cards: the model, by its architecture")
    parser.add_argument("--output", type=Path, metavar="FILE", help="with --fit or --cards: the fleet.toml to write")
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
