"""Compares six plans for one picture on two unequal devices: latency, utilisation, prediction, quality.

Each device is pinned to a core; the second one runs at an emulated share of its speed. METHODOLOGY.md says how each
number is made. Writes latency.json, latency.md and latency.png.

    python benchmarks/latency.py --quick
    python benchmarks/latency.py --seed "$(git rev-parse HEAD)"
    python benchmarks/latency.py --show benchmarks/results/latency.json
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fleet import pinned_fleet
from latency_study.aims import judge
from latency_study.campaign import Job, OpenFleet, PictureMaker
from latency_study.pairs import speed_pairs
from latency_study.plot import draw, note_of
from latency_study.prompts import PROMPTS
from latency_study.report import write_markdown
from latency_study.results import ResultFile, read_summary
from latency_study.study import Extent, run_study
from latency_study.table import terminal_aims, terminal_table
from machine import read_machine
from rich.console import Console

from polyrhythm.errors import PolyrhythmError
from polyrhythm.image import Sampler

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"
QUICK_RESULTS = REPOSITORY / "build" / "benchmarks"
TABLE_WIDTH = 160
BACKGROUND_CORES_MAX = 0.1

console = Console(width=None if sys.stdout.isatty() else TABLE_WIDTH)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", default="0", help="any text; draws the speed pairs and the order of the rounds")
    parser.add_argument("--pairs", type=int, default=10, metavar="N", help="drawn beside the two named ones")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="rounds after a warm-up round")
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), metavar="N", help="for quality; 0 to leave it out")
    parser.add_argument(
        "--quick", action="store_true", help="no drawn pairs, 2 rounds, 2 prompts, 20 steps, into build/"
    )
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--sampler", type=Sampler, choices=list(Sampler), default=Sampler.DDIM)
    parser.add_argument("--model", default="demo", help="'demo' or a folder in diffusers format")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="default: benchmarks/results")
    parser.add_argument("--show", type=Path, metavar="JSON", help="only show an earlier result again")
    options = parser.parse_args(arguments)
    if options.quick:
        options.pairs, options.repetitions, options.prompts, options.steps = 0, 2, 2, 20
    if options.repetitions < 1 or options.pairs < 0 or options.prompts < 0:
        parser.error("--repetitions must be at least 1, --pairs and --prompts must not be negative")
    options.output = options.output or (QUICK_RESULTS if options.quick else RESULTS)
    return options


def opener(model: str) -> OpenFleet:
    """Starts pinned fleets with one model."""

    @asynccontextmanager
    async def open_fleet(speeds: tuple[float, ...]) -> AsyncIterator[PictureMaker]:
        async with pinned_fleet(speeds, model) as fleet:
            yield fleet

    return open_fleet


def show(path: Path) -> None:
    """Prints a result file and writes its table and plot beside it."""
    document, rows, qualities = read_summary(path)
    aims = judge(rows)
    draw(path.with_suffix(".png"), rows, qualities, note_of(document))
    write_markdown(path.with_suffix(".md"), document, rows, qualities, aims)
    console.print(terminal_table(rows, qualities))
    console.print(terminal_aims(aims))
    console.print(f"written: {path.stem}.json, {path.stem}.md and {path.stem}.png in {path.parent}")


def main() -> None:
    """Runs or shows the study."""
    options = parse_arguments()
    if options.show is not None:
        show(options.show)
        return
    extent = Extent(
        pairs=speed_pairs(options.seed, options.pairs),
        repetitions=options.repetitions,
        prompts=options.prompts,
        seed=options.seed,
    )
    machine = read_machine()
    if machine.background_cores > BACKGROUND_CORES_MAX:
        console.print(
            f"[bold]other processes keep {machine.background_cores} cores busy: expect disturbed times[/bold]"
        )
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "latency.json"
    settings = {
        "seed": options.seed,
        "repetitions": options.repetitions,
        "prompts": options.prompts,
        "steps": options.steps,
        "sampler": options.sampler,
        "model": Path(options.model).name,
    }
    results = ResultFile(path, machine=machine.as_json(), settings=settings)
    began_s = time.monotonic()

    def say(line: str) -> None:
        console.print(f"{time.monotonic() - began_s:6.0f} s  {line}", markup=False, highlight=False, soft_wrap=True)

    job = Job(steps=options.steps, sampler=options.sampler)
    try:
        asyncio.run(run_study(extent, job, opener(options.model), results, say))
    except PolyrhythmError as error:
        sys.exit(f"the study ended early; {path.name} holds what was measured before: {error}")
    show(path)


if __name__ == "__main__":
    main()
