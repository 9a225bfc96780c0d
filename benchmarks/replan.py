"""What re-planning is worth when a load appears beside one of two devices while a picture is made.

Compares the first plan to its end, the product's re-planning, and two plans that knew of the load. METHODOLOGY.md says
how each number is made. Writes replan.json and replan.md; each scenario is there as soon as it ends.

    python benchmarks/replan.py --quick
    python benchmarks/replan.py --simulated
    python benchmarks/replan.py --seed "$(git rev-parse HEAD)"
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from math import inf
from pathlib import Path

from fleet import TooFewCoresError
from latency_study.aims import Aim
from latency_study.campaign import OWN_SAMPLER, Job
from latency_study.table import terminal_aims
from machine import read_machine
from pinned_cases import open_pinned_fleet
from replan_study.results import TITLE, ReplanResults, page
from replan_study.scenarios import scenarios
from replan_study.simulated import as_json, simulated_page, simulated_row
from replan_study.study import Extent, run_study
from result_document import QUICK_RESULTS, RESULTS, read_document
from terminal import console, progress_from_now, warn_of_others

from polyrhythm.errors import PolyrhythmError
from polyrhythm.model.request_choices import Sampler
from polyrhythm_coordinator.simulation.fleet_files.fleet_file import read_fleet

DESCRIBED = Path(__file__).parents[1] / "examples" / "fleet.toml"
"""Whose model the simulated devices hold."""
SIMULATED_STEPS_S = (0.08, 0.18, 1.0)
"""Seconds of a forward of the whole picture on a device of speed 1."""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--seed", default="0", help="any text; draws loads, moments and the order of the rounds")
    add("--loads", type=int, default=4, metavar="N", help="drawn beside the two named ones")
    add("--rounds", type=int, default=2, metavar="N", help="of each load, a fresh fleet each")
    add("--steps", type=int, default=50)
    add("--width", type=int, default=192, metavar="PX")
    add("--height", type=int, default=192, metavar="PX")
    add("--sampler", type=Sampler, choices=list(Sampler), help="default: each model's own")
    add("--model", default="demo-transformer", help="name of one that ships, or a folder in diffusers format")
    add("--quick", action="store_true", help="the two named loads, one round, into build/")
    add("--simulated", action="store_true", help="in virtual time, without processes: replan_simulated.json and .md")
    add("--time-limit-s", type=float, default=inf, metavar="S", help="leave out, and list, what would end later")
    add("--resume", action="store_true", help="keep the loads that the result file holds already")
    add("--output", type=Path, metavar="FOLDER", help="default: benchmarks/results")
    options = parser.parse_args(arguments)
    if options.quick:
        options.loads, options.rounds = 0, 1
    if options.rounds < 1 or options.loads < 0:
        parser.error("--rounds must be at least 1, --loads must not be negative")
    options.output = options.output or (QUICK_RESULTS if options.quick else RESULTS)
    return options


def main() -> None:
    """Runs the study and writes its page."""
    options = parse_arguments()
    if options.simulated:
        _simulate(options)
        return
    extent = Extent(
        scenarios=scenarios(options.seed, options.loads),
        rounds=options.rounds,
        seed=options.seed,
        model=options.model,
        width_px=options.width,
        height_px=options.height,
        time_limit_s=options.time_limit_s,
    )
    machine = read_machine()
    warn_of_others(machine)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "replan.json"
    settings = {
        "seed": options.seed,
        "rounds": options.rounds,
        "model": Path(options.model).name,
        "size": f"{options.width}x{options.height}",
        "steps": options.steps,
        "sampler": str(options.sampler or OWN_SAMPLER),
    }
    job = Job(steps=options.steps, sampler=options.sampler)
    try:
        results = ReplanResults(path, machine=machine.as_json(), settings=settings, resume=options.resume)
        asyncio.run(run_study(extent, job, open_pinned_fleet, results, progress_from_now()))
    except (PolyrhythmError, TooFewCoresError) as error:
        sys.exit(f"the study ended early; {path.name} holds what was measured before: {error}")
    document = read_document(path, TITLE)
    path.with_suffix(".md").write_text(page(document), encoding="utf-8")
    console.print(terminal_aims([Aim(**aim) for aim in document["aims"]]))
    console.print(f"written: {path.name} and {path.stem}.md in {path.parent}")


def _simulate(options: argparse.Namespace) -> None:
    """The same loads on described devices: every figure is the simulator's."""
    facts = read_fleet(DESCRIBED).facts
    rows = [
        simulated_row(scenario, facts, step_s=step_s)
        for scenario in scenarios(options.seed, options.loads)
        for step_s in SIMULATED_STEPS_S
    ]
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "replan_simulated.json"
    path.write_text(json.dumps(as_json(rows, seed=options.seed), indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(simulated_page(rows), encoding="utf-8")
    console.print(simulated_page(rows), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
