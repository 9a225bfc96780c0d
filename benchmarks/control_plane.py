"""Measures what coordination costs: CPU seconds of coordinator and agent daemons, beside the demo job's denoising.

METHODOLOGY.md says how each number is made. Writes control_plane.json.

    python benchmarks/control_plane.py
    python benchmarks/control_plane.py --jobs 3 --idle-s 5
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import psutil
from control_plane_study import AIM_SHARE, ControlPlaneCost, Interval, cost_of
from fleet import PinnedFleet, pinned_fleet
from machine import read_machine
from result_document import RESULTS
from rich.console import Console

from polyrhythm.job.image import ImageRequest

SPEEDS = (1.0, 0.5)
PROMPT = "red apple on a blue background"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10, metavar="N", help="measured jobs, one after the other")
    parser.add_argument("--idle-s", type=float, default=30.0, metavar="SECONDS", help="how long to watch an idle fleet")
    parser.add_argument(
        "--model", default="demo-transformer", help="name of one that ships, or a folder in diffusers format"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER")
    options = parser.parse_args(arguments)
    if options.jobs < 1 or options.idle_s <= 0:
        parser.error("--jobs must be at least 1 and --idle-s above 0")
    return options


async def measure(jobs: int, idle_s: float, model: str) -> ControlPlaneCost:
    """Watches one fleet idle, then at work.

    Raises:
        PolyrhythmError: the fleet does not start or a job fails.
    """
    async with pinned_fleet(SPEEDS, model) as fleet:
        await _run_jobs(fleet, 1)  # measures the devices and forms the gang
        processes = [psutil.Process(pid) for pid in fleet.pids]
        before = _read(processes)
        await asyncio.sleep(idle_s)
        idle = _since(before, _read(processes))
        before = _read(processes)
        denoise_s, computing_s = await _run_jobs(fleet, jobs)
        work = _since(before, _read(processes))
    return cost_of(idle, work, denoise_s=denoise_s, computing_s=computing_s, devices=len(SPEEDS))


async def _run_jobs(fleet: PinnedFleet, count: int) -> tuple[list[float], list[float]]:
    """Denoising seconds of each job, and those of encoding, denoising and decoding."""
    denoise_s: list[float] = []
    computing_s: list[float] = []
    for seed in range(count):
        report = (await fleet.picture(ImageRequest(prompt=PROMPT, seed=seed))).report
        denoise_s.append(report.denoise_s)
        computing_s.append(report.encode_s + report.denoise_s + report.decode_s)
    return denoise_s, computing_s


def _read(processes: Sequence[psutil.Process]) -> tuple[float, list[float]]:
    """Wall clock and CPU seconds, the coordinator's first."""
    cpu = [process.cpu_times() for process in processes]
    return time.monotonic(), [times.user + times.system for times in cpu]


def _since(before: tuple[float, list[float]], after: tuple[float, list[float]]) -> Interval:
    coordinator_s, *daemons_s = (now - then for then, now in zip(before[1], after[1], strict=True))
    return Interval(wall_s=after[0] - before[0], coordinator_s=coordinator_s, daemons_s=tuple(daemons_s))


def main() -> None:
    """Measures, prints and writes."""
    options = parse_arguments()
    machine = read_machine()
    cost = asyncio.run(measure(options.jobs, options.idle_s, options.model))
    options.output.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine.as_json(), "aim_share": AIM_SHARE, "speeds": SPEEDS, **asdict(cost)}
    path = options.output / "control_plane.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    console = Console()
    for line in cost.lines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    verdict = "met" if cost.share_of_denoising <= AIM_SHARE else "not met"
    console.print(f"aim: at most {AIM_SHARE:.0%} of the denoising time: {verdict}")


if __name__ == "__main__":
    main()
