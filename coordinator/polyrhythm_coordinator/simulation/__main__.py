"""Runs the simulator: a described fleet in, one JSON object on standard output. ``command_line`` has its options."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyrhythm.errors import ErrorCode, InvalidArgumentError, PolyrhythmError
from polyrhythm_coordinator.simulation.command_line import check_options, option_parser, picture_request
from polyrhythm_coordinator.simulation.fit import fit_fleet
from polyrhythm_coordinator.simulation.fleet_files.description import FleetDescription
from polyrhythm_coordinator.simulation.fleet_files.fleet_file import read_fleet
from polyrhythm_coordinator.simulation.fleet_files.fleet_text import fleet_text
from polyrhythm_coordinator.simulation.fleet_files.preset_fleet import preset_fleet, preset_notices
from polyrhythm_coordinator.simulation.fleet_files.run_report import read_report
from polyrhythm_coordinator.simulation.report.outcome import Outcome, as_json, fastest_alone, simulate

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
BAD_INPUT_CODES = frozenset({ErrorCode.INVALID_ARGUMENT, ErrorCode.NOT_FOUND})


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one simulation.

    Returns:
        The exit code: 0; 1 where the simulated job fails (its account is printed all the same), or the chart cannot be
        drawn; 2 for bad input. Errors go to standard error, a line a field.
    """
    options = option_parser().parse_args(arguments)
    try:
        check_options(options)
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
    """The account of a simulation and the exit code; a fleet of cards is also written down where that is asked for."""
    request = picture_request(options)
    cards = [] if options.cards is None else [name.strip() for name in options.cards.split(",")]
    fleet = preset_fleet(cards, options.model_preset) if cards else read_fleet(options.devices)
    outcome = simulate(fleet, request)
    if options.gantt is not None:
        _draw(outcome, options.gantt)
    account = as_json(outcome, None if outcome.error else fastest_alone(fleet, request))
    if cards:
        account["notices"] += preset_notices(cards, fleet.facts.dtype)
    if options.output is not None:
        origin = f"Preset, not measured: {options.cards} with {options.model_preset}."
        account["path"] = _written(fleet, origin, options.output)
    return account, EXIT_FAILED if outcome.error else 0


def _describe(options: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """Writes the fleet of a real run down."""
    fit = fit_fleet(read_report(options.fit))
    path = _written(fit.fleet, f"Fitted to one run: {fit.summary}.", options.output)
    return {"path": path, "summary": fit.summary, "notices": list(fit.notices)}, 0


def _written(fleet: FleetDescription, origin: str, path: Path) -> str:
    """Writes a fleet down, and returns where.

    Raises:
        InvalidArgumentError: it cannot be written.
    """
    try:
        path.write_text(fleet_text(fleet, origin=origin), encoding="utf-8")
    except OSError as error:
        raise InvalidArgumentError.of("output", f"{path} cannot be written: {error.strerror}") from error
    return str(path)


def _draw(outcome: Outcome, path: Path) -> None:
    from polyrhythm_coordinator.simulation.report.gantt import draw  # matplotlib is slow to load, and may be missing

    draw(outcome, path)


if __name__ == "__main__":
    sys.exit(main())
