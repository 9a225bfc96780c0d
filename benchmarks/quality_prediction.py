"""How well a plan's quality is predicted, and how well the budget of a quality is kept, on held-out prompts.

``python benchmarks/quality_prediction.py`` lets the planner choose plans for drawn fleets of one to four devices at
several lengths, predicts what they come to, and follows them with the real step loop and exchange in one process (no
coordinator, no network) on prompts and seeds that no calibration has seen. A run that is broken off goes on where it
was: the result is written after every picture. Formulas are in METHODOLOGY.md.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from latency_study.prompts import PROMPTS
from machine import read_machine
from quality_study.cases import Case, drawn_cases, prediction
from quality_study.scores import IDENTICAL_DB, Scored, by_devices, table
from result_document import REPOSITORY, RESULTS, OtherSettingsError, earlier_document, write_document

from polyrhythm.job.image import ImageSpec
from polyrhythm.model.facts import ModelFacts
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm_agent.calibration.file import with_calibration
from polyrhythm_agent.calibration.gang import InProcessGang
from polyrhythm_agent.calibration.measure import picture_of
from polyrhythm_agent.calibration.probes import reference_plan
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.epoch.boundary_state import BoundaryState
from polyrhythm_agent.model_files.model_folder import find_model

TITLE = "how well is the quality of plans predicted, and is their budget kept, on held-out prompts?"
DEVICES = 4


def held_out(index: int, seed: str) -> tuple[str, int]:
    """Prompt and seed of a picture: the listed prompts in turn, seeds drawn anew with every run's seed."""
    return PROMPTS[index % len(PROMPTS)], random.Random(f"{seed} picture {index}").getrandbits(31)


def resumed(plan: Plan) -> Plan:
    """What of a plan is not as on a single device: it goes on from one step before the first one that differs."""
    first = 0
    for segment in plan.segments:
        alone = sum(a.rows.count > 0 for a in segment.assignments) == 1 and max(segment.strides) == 1
        if segment.exchange is not Exchange.SYNCHRONOUS and not alone:
            break
        first = segment.end_step
    begin = max(0, first - 1)
    cut = [s for s in plan.segments if s.end_step > begin]
    return replace(
        plan, begin_step=begin, segments=(replace(cut[0], begin_step=max(begin, cut[0].begin_step)), *cut[1:])
    )


def psnr_of(gang: InProcessGang, image: ImageSpec, plans: Sequence[Plan], latent_range: float) -> list[float]:
    """PSNR of each plan's final latent against that of a single device."""
    condition = gang.denoiser.encode(image)
    rows = gang.denoiser.geometry(image).row_count
    states: Mapping[int, BoundaryState] = gang.denoise(reference_plan(image.steps, rows), image, condition)
    reference_BCHW = states[image.steps].x_BCHW.double()
    found: list[float] = []
    for plan in plans:
        start = states[plan.begin_step] if plan.begin_step else None
        latent_BCHW = gang.denoise(plan, image, condition, start)[image.steps].x_BCHW.double()
        mse = float(((latent_BCHW - reference_BCHW) ** 2).mean())
        found.append(min(IDENTICAL_DB, float(10 * np.log10(latent_range**2 / max(mse, 1e-30)))))
    return found


class Length:
    """One length: its cases, and the distinct plans that are measured for them.

    Args:
        facts: of the model, with its calibrations.
        image: of this length, size and guidance.
        options: of the command.
    """

    def __init__(self, facts: ModelFacts, image: ImageSpec, options: argparse.Namespace) -> None:
        self.image = image
        self.cases = drawn_cases(
            facts, image, seed=options.seed, fleets=options.fleets, randoms=options.random, devices=DEVICES
        )
        self._plans: list[tuple[object, ...]] = []
        self.distinct: list[Plan] = []
        for case in self.cases:
            for plan in (case.plan, case.reference):
                if plan is not None and plan.segments not in [seen.segments for seen in self.distinct]:
                    self.distinct.append(plan)
        found = prediction(facts, image)
        self.latent_range = found.errors.latent_range if found else facts.calibrations[0].latent_range

    def scored(self, psnr_PN: np.ndarray) -> list[Scored]:
        """The cases after measuring.

        Args:
            psnr_PN: of pictures, by the distinct plans.
        """
        return [
            Scored(
                steps=self.image.steps,
                kind=case.kind,
                devices=case.devices,
                predicted_db=case.expected.mean_db if case.expected else None,
                predicted_low_db=case.expected.low_db if case.expected else None,
                measured_db_P=psnr_PN[:, self._index(case.plan)],
                reference_db_P=None if case.reference is None else psnr_PN[:, self._index(case.reference)],
                loss_db=case.loss_db,
            )
            for case in self.cases
        ]

    def _index(self, plan: Plan) -> int:
        return next(index for index, seen in enumerate(self.distinct) if seen.segments == plan.segments)


def described(case: Case, scored: Scored) -> dict[str, Any]:
    """One case of the result."""
    return {
        "kind": case.kind,
        "speeds": list(case.speeds),
        "predicted_db": None if scored.predicted_db is None else round(scored.predicted_db, 2),
        "predicted_low_db": None if scored.predicted_low_db is None else round(scored.predicted_low_db, 2),
        "measured_db": round(float(scored.measured_db_P.mean()), 2),
        "measured_low_db": round(float(np.quantile(scored.measured_db_P, 0.1)), 2),
        "overrun_db": None if scored.overrun_db is None else round(scored.overrun_db, 2),
        "low_overrun_db": None if scored.low_overrun_db is None else round(scored.low_overrun_db, 2),
        "segments": [
            [s.begin_step, s.end_step, s.exchange, [a.rows.count for a in s.assignments], list(s.strides)]
            for s in case.plan.segments
        ],
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Predicts, measures and compares; the document so far is on disk after every picture."""
    folder = find_model(options.model)
    members = [load_denoiser(folder.path, model=folder.name) for _ in range(DEVICES)]
    gang, facts = InProcessGang(members), with_calibration(members[0].facts, folder.path)
    output = options.output or RESULTS / f"quality_prediction-{folder.name}.json"
    lengths = {
        steps: Length(facts, _image(facts, held_out(0, options.seed), steps, options), options)
        for steps in options.steps
    }
    document = _begun(output, folder.name, facts, options)
    for steps, length in lengths.items():
        measured: list[list[float]] = document["psnr_db"].setdefault(str(steps), [])
        plans = [resumed(plan) for plan in length.distinct]
        for index in range(len(measured), options.pictures):
            image = _image(facts, held_out(index, options.seed), steps, options)
            measured.append([round(value, 3) for value in psnr_of(gang, image, plans, length.latent_range)])
            _sum_up(document, lengths)
            write_document(output, document)
            print(
                f"{steps} steps, picture {index + 1} of {options.pictures}: {np.mean(measured[-1]):.1f} dB", flush=True
            )
    _sum_up(document, lengths)
    write_document(output, document)
    return document


def _image(facts: ModelFacts, told: tuple[str, int], steps: int, options: argparse.Namespace) -> ImageSpec:
    image = picture_of(facts, *told, steps)
    side = options.size or image.width_px
    guidance = image.guidance if options.guidance is None else options.guidance
    return replace(image, width_px=side, height_px=side, guidance=guidance)


def _begun(output: Path, model: str, facts: ModelFacts, options: argparse.Namespace) -> dict[str, Any]:
    settings = {
        "model": model,
        "seed": options.seed,
        "fleets": options.fleets,
        "random": options.random,
        "size": options.size,
        "guidance": options.guidance,
        "calibrations": [[one.sampler, one.steps, one.pictures, sum(one.products)] for one in facts.calibrations],
    }
    if options.resume and output.exists():
        return earlier_document(output, TITLE, json.loads(json.dumps(settings)))
    machine = read_machine().as_json()
    return {"title": TITLE, "settings": settings, "sampler": facts.samplers[0], "psnr_db": {}, "machine": machine}


def _sum_up(document: dict[str, Any], lengths: Mapping[int, Length]) -> None:
    scored: list[Scored] = []
    document["cases"] = {}
    for steps, length in lengths.items():
        measured = document["psnr_db"].get(str(steps))
        if measured:
            own = length.scored(np.array(measured))
            scored += own
            cases = [described(*each) for each in zip(length.cases, own, strict=True)]
            document["cases"][str(steps)] = {"pictures": len(measured), "plans": cases}
    document["summary"] = table(scored)
    document["summary_by_devices"] = by_devices(scored)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", default="demo-unet", help="a model that ships, or a folder in diffusers format")
    add("--steps", type=_lengths, default="8,12,20,30,50", metavar="N[,N..]", help="lengths (default: 8,12,20,30,50)")
    add("--pictures", type=int, default=64, metavar="N", help="held-out pictures of each length")
    add("--fleets", type=int, default=2, metavar="N", help="drawn fleets of each number of devices")
    add("--random", type=int, default=4, metavar="N", help="random plans of each length")
    add("--seed", help="fleets, plans and seeds are drawn from it (default: the commit)")
    add("--size", type=int, metavar="PX", help="side of the pictures (default: the model's)")
    add("--guidance", type=float, metavar="G", help="guidance (default: the model's)")
    add("--threads", type=int, default=1, metavar="N", help="compute threads of a member")
    add("--resume", action="store_true", help="go on with the result of a run that was broken off")
    add("--output", type=Path, metavar="FILE", help="default: results/quality_prediction-MODEL.json")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = subprocess.run(
            ("git", "rev-parse", "HEAD"), cwd=REPOSITORY, check=True, capture_output=True, text=True
        ).stdout.strip()
    return options


def _lengths(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(part) for part in text.split(",")}))


def main() -> int:
    """Runs and writes the result."""
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    try:
        document = run(options)
    except OtherSettingsError as error:
        print(f"--resume: {error}", file=sys.stderr)
        return 2
    for row in (*document["summary"], *document["summary_by_devices"]):
        print(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
