"""What step reduction costs in quality: PSNR, SSIM and MS-SSIM to the single-device picture, plan by plan.

``python benchmarks/quality.py`` follows every plan with the real step loop and exchange in one process (no coordinator,
no network: a picture follows from plan and seed alone) on listed prompts and seeds, and compares the decoded pictures,
apart for fast rows, slow rows and the seam band. Formulas are in METHODOLOGY.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from latency_study.pictures import Pixels
from latency_study.prompts import prompt
from latency_study.variants import describe
from machine import read_machine
from quality_study.plot import draw
from quality_study.regions import Distances, distances, regions_of
from quality_study.variants import compared_plans
from result_document import RESULTS

from polyrhythm.job.image import ImageSpec
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.plan import Plan
from polyrhythm_agent.calibration.file import with_calibration
from polyrhythm_agent.calibration.gang import InProcessGang
from polyrhythm_agent.calibration.measure import picture_of
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.model_files.model_folder import find_model

REFERENCE = "solo fastest"


def picture(gang: InProcessGang, plan: Plan, image: ImageSpec) -> Pixels:
    """The decoded picture ``(H, W, 3)`` of a plan."""
    image = replace(image, steps=plan.steps)
    latent_BCHW = gang.denoise(plan, image, gang.denoiser.encode(image))[plan.steps].x_BCHW
    return np.ascontiguousarray(gang.denoiser.decode(latent_BCHW).permute(1, 2, 0).numpy())


def summary(found: Sequence[Distances]) -> dict[str, Any]:
    """Means over pictures; of decibels, the middle and the worst picture too."""
    regions = ("fast", "slow", "seam")
    decibels = [one.psnr_db for one in found]
    return {
        "psnr_db": {"whole": _mean(decibels)}
        | {r: _mean([one.psnr_by_region_db[r] for one in found]) for r in regions},
        "psnr_median_db": round(median(decibels), 2),
        "psnr_low_db": round(min(decibels), 2),
        "ssim": {"whole": _mean([one.ssim for one in found], 4)}
        | {r: _mean([one.ssim_by_region[r] for one in found], 4) for r in regions},
        "ms_ssim": _mean([one.ms_ssim for one in found], 4),
    }


def _mean(values: Sequence[float | None], digits: int = 2) -> float | None:
    present = [value for value in values if value is not None]
    return round(fmean(present), digits) if present else None


def measure(
    gang: InProcessGang, facts: ModelFacts, plans: Mapping[str, Plan], pictures: int, steps: int
) -> dict[str, list[Distances]]:
    """Distances of every plan's pictures, in the order of the listed prompts."""
    found: dict[str, list[Distances]] = {name: [] for name in plans if name != REFERENCE}
    for index in range(pictures):
        image = picture_of(facts, *prompt(index), steps)
        reference_HW3 = picture(gang, plans[REFERENCE], image)
        for name, distance in found.items():
            plan = plans[name]
            where = regions_of(plan, row_unit_px=facts.row_unit_px, height_px=image.height_px)
            distance.append(distances(picture(gang, plan, image), reference_HW3, where))
        told = ", ".join(f"{name} {distance[-1].psnr_db:.1f}" for name, distance in found.items())
        print(f"{index + 1} of {pictures}: {image.prompt}: {told}", flush=True)
    return found


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="demo-transformer", help="name of one that ships, or a folder in diffusers format"
    )
    parser.add_argument("--pictures", type=int, default=64, metavar="N", help="listed prompts and seeds")
    parser.add_argument("--speeds", default="1,0.5", metavar="S,S", help="of the described devices, relative")
    parser.add_argument("--steps", type=int, metavar="N", help="steps (default: the model's)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON; the plot goes beside it")
    return parser.parse_args()


def main() -> None:
    """Measures and writes JSON and a plot."""
    options = parse_arguments()
    machine = read_machine()
    folder = find_model(options.model)
    speeds = tuple(float(part) for part in options.speeds.split(","))
    gang = InProcessGang([load_denoiser(folder.path, model=folder.name) for _ in speeds])
    facts = with_calibration(gang.denoiser.facts, folder.path)
    steps = options.steps or facts.default_steps
    plans = compared_plans(facts, picture_of(facts, *prompt(0), steps), speeds)
    table = {
        name: {"plan": describe(plans[name]), "fine_steps": plans[name].steps, **summary(found)}
        for name, found in measure(gang, facts, plans, options.pictures, steps).items()
    }
    output = options.output or RESULTS / f"quality-{folder.name}.json"
    result = {
        "question": "what does step reduction cost against the single-device picture, at which rows?",
        "model": folder.name,
        "sampler": facts.samplers[0],
        "steps": steps,
        "pictures": options.pictures,
        "speeds": list(speeds),
        "calibrated_steps": [one.steps for one in facts.calibrations if one.sampler == facts.samplers[0]],
        "plans": table,
        "machine": machine.as_json(),
    }
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    title = f"{folder.name}, {facts.samplers[0]}, {steps} steps, speeds {options.speeds}, {options.pictures} pictures"
    draw(table, title, output.with_suffix(".png"))
    for name, row in table.items():
        print(f"{name:24} {row['psnr_db']} SSIM {row['ssim']['whole']} MS-SSIM {row['ms_ssim']}")


if __name__ == "__main__":
    main()
