"""Compares plans for one picture on unequal devices: latency, utilisation, prediction, quality.

Each device is pinned to a core and runs at an emulated share of it, or with a busy process beside it. METHODOLOGY.md
says how each number is made. Writes latency.json, latency.md and latency.png; each case is there as soon as it ends.

    python benchmarks/latency.py --quick
    python benchmarks/latency.py --seed "$(git rev-parse HEAD)" --prompts 0
    python benchmarks/latency.py --cases occupancy,gangs --resume
    python benchmarks/latency.py --show benchmarks/results/latency.json
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from math import inf
from pathlib import Path

from fleet import TooFewCoresError
from latency_study.aims import judge
from latency_study.campaign import OWN_SAMPLER, Job, OpenFleet
from latency_study.cases import Case, Group, all_cases
from latency_study.plot import draw, note_of
from latency_study.prompts import PROMPTS
from latency_study.report import write_markdown
from latency_study.results import ResultFile, read_summary
from latency_study.study import Extent, run_study
from latency_study.table import terminal_aims, terminal_table
from machine import read_machine
from mps_fleet import MpsUnavailableError, mps_cases, open_mps_fleet
from pinned_cases import open_pinned_fleet
from result_document import QUICK_RESULTS, RESULTS
from terminal import console, progress_from_now, warn_of_others

from polyrhythm.errors import PolyrhythmError
from polyrhythm.model.request_choices import Sampler


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--seed", default="0", help="any text; draws pairs, fleets and the order of the rounds")
    add("--cases", type=_groups, default=frozenset(Group), help=f"some of {', '.join(Group)}; default: all")
    add("--pairs", type=int, default=0, metavar="N", help="drawn beside the two named ones")
    add("--fleets", type=int, default=20, metavar="N", help="random fleets, sizes, steps and models")
    add("--repetitions", type=int, default=3, metavar="N", help="rounds after a warm-up round")
    add("--fleet-repetitions", type=int, default=2, metavar="N", help="the same for random fleets")
    add("--prompts", type=int, default=len(PROMPTS), metavar="N", help="for quality of the pairs; 0 to leave it out")
    add("--quick", action="store_true", help="two named pairs, 2 rounds, 2 prompts, 20 steps, into build/")
    add("--steps", type=int, default=50, help="where a case names none")
    add("--sampler", type=Sampler, choices=list(Sampler), help="default: each model's own")
    add("--time-limit-s", type=float, default=inf, metavar="S", help="leave out, and list, what would end later")
    add("--resume", action="store_true", help="keep the cases that the result file holds already")
    add("--cuda-mps", type=_shares, metavar="SHARES", help="percentages of one GPU, such as 100,50, instead of cores")
    add(
        "--model",
        default="demo-transformer",
        help="of --cuda-mps: name of one that ships, or a folder in diffusers format",
    )
    add("--output", type=Path, metavar="FOLDER", help="default: benchmarks/results")
    add("--show", type=Path, metavar="JSON", help="only show an earlier result again")
    options = parser.parse_args(arguments)
    if options.quick:
        options.cases, options.pairs, options.prompts, options.steps = frozenset({Group.PAIRS}), 0, 2, 20
        options.repetitions = 2
    if min(options.repetitions, options.fleet_repetitions) < 1:
        parser.error("--repetitions and --fleet-repetitions must be at least 1")
    if min(options.pairs, options.fleets, options.prompts) < 0:
        parser.error("--pairs, --fleets and --prompts must not be negative")
    options.output = options.output or (QUICK_RESULTS if options.quick else RESULTS)
    return options


def _groups(text: str) -> frozenset[Group]:
    return frozenset(Group(name) for name in text.split(","))


def _shares(text: str) -> tuple[int, ...]:
    shares = tuple(int(part) for part in text.split(","))
    if len(shares) < 2 or not all(1 <= share <= 100 for share in shares):
        raise ValueError(text)
    return shares


def show(path: Path) -> None:
    """Prints a result file and writes its table and plot beside it."""
    document, rows, qualities = read_summary(path)
    aims = judge(rows)
    draw(path.with_suffix(".png"), rows, qualities, note_of(document))
    write_markdown(path.with_suffix(".md"), document, rows, qualities, aims)
    console.print(terminal_table(rows, qualities))
    console.print(terminal_aims(aims))
    console.print(f"written: {path.stem}.json, {path.stem}.md and {path.stem}.png in {path.parent}")


def what_to_run(options: argparse.Namespace) -> tuple[tuple[Case, ...], OpenFleet, str]:
    """Cases, who starts their fleets, and the name of the result."""
    if options.cuda_mps is None:
        cases = all_cases(options.cases, seed=options.seed, pairs=options.pairs, fleets=options.fleets)
        return cases, open_pinned_fleet, "latency"
    opener = open_mps_fleet()
    return mps_cases(options.cuda_mps, options.model), opener, "latency-mps"


def main() -> None:
    """Runs or shows the study."""
    options = parse_arguments()
    if options.show is not None:
        show(options.show)
        return
    cases, opener, name = what_to_run(options)
    extent = Extent(
        cases=cases,
        repetitions=options.repetitions,
        fleet_repetitions=options.fleet_repetitions,
        prompts=options.prompts,
        seed=options.seed,
        time_limit_s=options.time_limit_s,
    )
    machine = read_machine()
    warn_of_others(machine)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"{name}.json"
    settings = {
        "seed": options.seed,
        "repetitions": options.repetitions,
        "fleet_repetitions": options.fleet_repetitions,
        "prompts": options.prompts,
        "steps": options.steps,
        "sampler": options.sampler or OWN_SAMPLER,
    }
    job = Job(steps=options.steps, sampler=options.sampler)
    try:
        results = ResultFile(path, machine=machine.as_json(), settings=settings, resume=options.resume)
        asyncio.run(run_study(extent, job, opener, results, progress_from_now()))
    except (PolyrhythmError, MpsUnavailableError, TooFewCoresError) as error:
        sys.exit(f"the study ended early; {path.name} holds what was measured before: {error}")
    show(path)


if __name__ == "__main__":
    main()
