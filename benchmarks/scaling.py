"""Measures how planning scales: plan time, and simulated latency, of random fleets of 2 to 64 agents.

No agent is started: the scheduling core plans and the simulator follows it. METHODOLOGY.md says how each number is
made. Writes scaling.json and scaling.png.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --agents 2 8 --fleets 2
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from machine import read_machine
from result_document import RESULTS
from rich.console import Console
from rich.progress import track
from scaling_study.fleets import Interconnect, draw_fleet
from scaling_study.measure import FleetResult, measure
from scaling_study.plot import plot
from scaling_study.summary import lines, summarise

SIZES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, nargs="+", default=list(SIZES), metavar="N", help="fleet sizes, 2 to 64")
    parser.add_argument("--fleets", type=int, default=3, metavar="N", help="random fleets of each size")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="timed searches of each plan")
    parser.add_argument("--seed", type=int, default=20260101, metavar="N", help="of the fleets")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER")
    options = parser.parse_args(arguments)
    if any(not 2 <= size <= 64 for size in options.agents) or options.fleets < 1 or options.repetitions < 1:
        parser.error("--agents takes 2 to 64; --fleets and --repetitions must be at least 1")
    return options


def main() -> None:
    """Measures, prints, draws and writes."""
    options = parse_arguments()
    machine = read_machine()
    console = Console()
    tasks = [
        (interconnect, size, index)
        for interconnect in Interconnect
        for size in options.agents
        for index in range(options.fleets)
    ]
    results: list[FleetResult] = []
    for interconnect, size, index in track(tasks, description="random fleets", console=console):
        fleet = draw_fleet(interconnect, size, seed=f"{options.seed}/{interconnect}/{size}/{index}")
        results.append(measure(fleet, interconnect, repetitions=options.repetitions))
    summary = summarise(results)
    options.output.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": machine.as_json(),
        "seed": options.seed,
        "repetitions": options.repetitions,
        "summary": [asdict(row) for row in summary],
        "fleets": [asdict(result) for result in results],
    }
    (options.output / "scaling.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    plot(summary, options.output / "scaling.png")
    for line in lines(summary):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
