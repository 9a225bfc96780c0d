"""Fits the simulator to one real run and checks it on runs with other speeds.

METHODOLOGY.md says how each number is made. Writes simulation_fit.json. Wants an idle machine with a core a device.

    python benchmarks/simulation_fit.py
    python benchmarks/simulation_fit.py --check 1,0.4 1,0.8 --repetitions 3
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from fleet import pinned_fleet
from machine import read_machine
from result_document import RESULTS
from rich.console import Console

from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageRequest, Quality
from polyrhythm_client.cli.summary import measured_fleet, picture_summary
from polyrhythm_client.parsing import parse_speeds
from polyrhythm_coordinator.simulation.fit import fit_fleet
from polyrhythm_coordinator.simulation.fleet_files.description import DeviceDescription, FleetDescription
from polyrhythm_coordinator.simulation.fleet_files.run_report import parse_report
from polyrhythm_coordinator.simulation.report.outcome import simulate

PROMPT = "red apple on a blue background"
AIM_MEDIAN_ERROR = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One fleet that the fit has not seen.

    Attributes:
        speeds: of its devices.
        measured_s: denoising seconds, one a picture.
        simulated_s: of the described fleet, which makes its own plan.
        error: simulated over the median of the measured, less one.
        core_wait_s: seconds in which other processes held the devices' cores, a picture.
    """

    speeds: tuple[float, ...]
    measured_s: tuple[float, ...]
    simulated_s: float
    error: float
    core_wait_s: float


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=parse_speeds, default=(1.0, 0.5), metavar="A,B", help="speeds of the fitted run")
    parser.add_argument(
        "--check",
        type=parse_speeds,
        nargs="+",
        default=[(1.0, 0.3), (1.0, 0.4), (1.0, 0.65), (1.0, 0.8), (1.0, 1.0)],
        metavar="A,B",
        help="speeds of the fleets to predict",
    )
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="pictures of each fleet")
    parser.add_argument("--steps", type=int, default=50, metavar="N")
    parser.add_argument("--quality", type=Quality, default=Quality.BALANCED, choices=list(Quality))
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER")
    options = parser.parse_args(arguments)
    if options.repetitions < 1:
        parser.error("--repetitions must be at least 1")
    return options


async def run_fleet(
    speeds: Sequence[float], request: ImageRequest, repetitions: int
) -> tuple[list[dict[str, Any]], float]:
    """Accounts of some pictures, as ``generate --json`` prints them, and the core wait a picture.

    The first picture, which measures the devices and the links, is not kept.
    """
    accounts: list[dict[str, Any]] = []
    async with pinned_fleet(speeds, "demo-transformer") as fleet:
        await fleet.picture(request)
        before_s = fleet.core_wait_s()
        for seed in range(1, repetitions + 1):
            picture = await fleet.picture(replace(request, seed=seed))
            account = picture_summary(picture, Path("picture.png"))
            accounts.append({**account, "measured": measured_fleet(picture, await fleet.agents())})
        waited_s = fleet.core_wait_s() - before_s
    return accounts, waited_s / repetitions


def at_speeds(fitted: FleetDescription, speeds: Sequence[float]) -> FleetDescription:
    """The fitted fleet's first device, which ran freely, at other speeds; its links between any two of them.

    Emulation stretches computing and nothing else, so the overhead of a step stays what it is.
    """
    first = fitted.devices[0]
    devices = tuple(_scaled(first, index, speed) for index, speed in enumerate(speeds))
    return replace(fitted, devices=devices)


def _scaled(device: DeviceDescription, index: int, speed: float) -> DeviceDescription:
    return replace(
        device,
        agent=AgentId(f"local-{index}"),
        fixed_s=device.fixed_s / speed,
        per_row_s=device.per_row_s / speed,
        encode_s=device.encode_s / speed,
        decode_s=device.decode_s / speed,
    )


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Fits, then checks."""
    request = ImageRequest(prompt=PROMPT, seed=0, steps=options.steps, quality=options.quality)
    accounts, waited_s = await run_fleet(options.fit, request, options.repetitions)
    accounts.sort(key=lambda account: account["seconds"]["denoise"])
    typical = accounts[len(accounts) // 2]
    fit = fit_fleet(parse_report(typical))
    checks: list[Check] = []
    for speeds in options.check:
        found, core_wait_s = await run_fleet(speeds, request, options.repetitions)
        measured_s = tuple(account["seconds"]["denoise"] for account in found)
        simulated_s = simulate(at_speeds(fit.fleet, speeds), request).reports[0].denoise_s
        error = simulated_s / median(measured_s) - 1.0
        checks.append(
            Check(
                speeds=speeds,
                measured_s=measured_s,
                simulated_s=simulated_s,
                error=error,
                core_wait_s=core_wait_s,
            )
        )
    return {
        "fit": {
            "speeds": options.fit,
            "summary": fit.summary,
            "core_wait_s": waited_s,
            "run": typical,
        },
        "checks": [asdict(check) for check in checks],
        "median_error": median(abs(check.error) for check in checks),
        "aim_median_error": AIM_MEDIAN_ERROR,
    }


def main() -> None:
    """Measures, prints and writes."""
    options = parse_arguments()
    machine = read_machine()
    options.output.mkdir(parents=True, exist_ok=True)
    found = asyncio.run(measure(options))
    document = {"machine": machine.as_json(), "steps": options.steps, "quality": options.quality, **found}
    (options.output / "simulation_fit.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    console = Console()
    console.print(f"fitted at {options.fit}: {found['fit']['summary']}", markup=False, highlight=False, soft_wrap=True)
    for check in found["checks"]:
        told = (
            f"{check['speeds']}: measured {median(check['measured_s']):.3f} s, simulated {check['simulated_s']:.3f} s, "
            f"{check['error']:+.1%}; core wait {check['core_wait_s']:.2f} s a picture"
        )
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    verdict = "met" if found["median_error"] <= AIM_MEDIAN_ERROR else "not met"
    console.print(f"median error {found['median_error']:.1%}; aim {AIM_MEDIAN_ERROR:.0%}: {verdict}", highlight=False)


if __name__ == "__main__":
    main()
