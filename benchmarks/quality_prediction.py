"""How well a plan's quality is predicted: random plans on held-out prompts, predicted and measured.

``python benchmarks/quality_prediction.py`` runs the real step loop and exchange of up to three members in one process
(no coordinator, no network), on prompts and seeds that no calibration has seen. Formulas are in METHODOLOGY.md.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from latency_study.prompts import prompt
from machine import read_machine
from result_document import RESULTS

from polyrhythm.calibration import IDENTICAL_PSNR_DB, Calibration, nearest
from polyrhythm.errors import InvalidArgumentError
from polyrhythm.facts import ModelFacts
from polyrhythm.ids import AgentId
from polyrhythm.image import ImageSpec
from polyrhythm.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.rows import ranges_from_counts
from polyrhythm_agent.calibration.file import with_calibration
from polyrhythm_agent.calibration.gang import InProcessGang
from polyrhythm_agent.calibration.measure import picture_of
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.model_folder import find_model
from polyrhythm_coordinator.scheduling.build import resynchronised
from polyrhythm_coordinator.scheduling.distortion import Distortion

MEMBERS = 3


def random_plan(draw: random.Random, steps: int, rows: int) -> Plan:
    """One to three members, rows that may move, any strides of 1 and 2 anywhere after the warm-up."""
    members = draw.choice((1, 2, 2, 2, 3))
    counts = _counts(draw, members, rows)
    warmup = draw.choice((1, 2, 4))
    segments = [_segment(0, warmup, counts, Exchange.SYNCHRONOUS, (1,) * members)]
    step = warmup
    while step < steps:
        length = min(draw.choice((2, 4, 6, 8)), steps - step)
        strides = draw.choice(((1,) * members, (2,) * members, tuple(draw.choice((1, 2)) for _ in range(members))))
        if length < 2:
            strides = (1,) * members
        length -= length % max(strides)
        if draw.random() < 0.3:
            counts = _counts(draw, members, rows)
        segments.append(_segment(step, step + length, counts, Exchange.DISPLACED, strides))
        step += length
    agents = segments[0].agents
    return Plan(version=1, begin_step=0, steps=steps, segments=tuple(segments), encoder=agents[0], decoder=agents[0])


def legal(plan: Plan, facts: ModelFacts) -> Plan:
    """The plan, with a synchronous step wherever rows move if the model's family needs one."""
    if not facts.resync_after_move:
        return plan
    return replace(plan, segments=tuple(resynchronised(plan.segments)))


def plain_plans(steps: int, rows: int) -> list[Plan]:
    """Plain displaced parallelism on two and three members, and uniformly fewer steps on one."""
    found: list[Plan] = []
    for members in (2, 3):
        counts = tuple(rows // members + (index < rows % members) for index in range(members))
        ones = (1,) * members
        found.append(
            _plan(
                [
                    _segment(0, 4, counts, Exchange.SYNCHRONOUS, ones),
                    _segment(4, steps, counts, Exchange.DISPLACED, ones),
                ]
            )
        )
    half = steps // 2 - steps // 2 % 2
    found.append(
        _plan(
            [
                _segment(0, half, (rows,), Exchange.DISPLACED, (1,)),
                _segment(half, steps, (rows,), Exchange.DISPLACED, (2,)),
            ]
        )
    )
    return found


def _plan(segments: list[Segment]) -> Plan:
    agents = segments[0].agents
    return Plan(
        version=1,
        begin_step=0,
        steps=segments[-1].end_step,
        segments=tuple(segments),
        encoder=agents[0],
        decoder=agents[0],
    )


def _counts(draw: random.Random, members: int, rows: int) -> tuple[int, ...]:
    cuts = [0, *sorted(draw.sample(range(1, rows), members - 1)), rows]
    return tuple(after - before for before, after in pairwise(cuts))


def _segment(begin: int, end: int, counts: tuple[int, ...], exchange: Exchange, strides: tuple[int, ...]) -> Segment:
    return Segment(
        begin_step=begin,
        end_step=end,
        beat_steps=4,
        exchange=exchange,
        assignments=tuple(
            Assignment(agent=AgentId(f"member-{index}"), rows=held, stride=stride)
            for index, (held, stride) in enumerate(zip(ranges_from_counts(counts), strides, strict=True))
        ),
    )


def measure(gang: InProcessGang, image: ImageSpec, plans: list[Plan], latent_range: float) -> list[float]:
    """PSNR of each plan's final latent against that of a single device."""
    condition = gang.denoiser.encode(image)
    rows = gang.denoiser.geometry(image).row_count
    alone = _plan([_segment(0, image.steps, (rows,), Exchange.SYNCHRONOUS, (1,))])
    reference_BCHW = gang.denoise(alone, image, condition)[image.steps].x_BCHW.double()
    found: list[float] = []
    for plan in plans:
        latent_BCHW = gang.denoise(plan, image, condition)[image.steps].x_BCHW.double()
        mse = float(((latent_BCHW - reference_BCHW) ** 2).mean())
        found.append(min(IDENTICAL_PSNR_DB, float(10 * np.log10(latent_range**2 / max(mse, 1e-30)))))
    return found


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's: the correlation of ranks, without ties."""
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def summary(predicted_db: np.ndarray, measured_PN: np.ndarray) -> dict[str, object]:
    """Errors over plans that disturb the picture at all; N plans, P pictures."""
    measured_db = measured_PN.mean(axis=0)
    disturbed = measured_db < IDENTICAL_PSNR_DB
    errors_db = (predicted_db - measured_db)[disturbed]
    spread_db = measured_PN[:, disturbed].mean(axis=1).std(ddof=1) if len(measured_PN) > 1 else float("nan")
    return {
        "plans": int(disturbed.sum()),
        "pictures": len(measured_PN),
        "mean_absolute_error_db": round(float(np.abs(errors_db).mean()), 3),
        "mean_error_db": round(float(errors_db.mean()), 3),
        "mean_absolute_error_without_common_offset_db": round(float(np.abs(errors_db - errors_db.mean()).mean()), 3),
        "rank_correlation": round(rank_correlation(predicted_db[disturbed], measured_db[disturbed]), 4),
        "standard_error_of_measured_mean_db": round(float(spread_db / np.sqrt(len(measured_PN))), 3),
    }


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="demo-transformer", help="name of one that ships, or a folder in diffusers format"
    )
    parser.add_argument("--pictures", type=int, default=16, metavar="N", help="held-out prompts")
    parser.add_argument("--first-picture", type=int, default=0, metavar="I", help="place of the first in the list")
    parser.add_argument("--plans", type=int, default=24, metavar="N", help="random plans, beside three plain ones")
    parser.add_argument("--seed", type=int, default=1, help="of the random plans")
    parser.add_argument("--steps", type=int, metavar="N", help="steps of the pictures (default: the model's)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="compute threads of a member")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: results/quality_prediction-MODEL.json")
    return parser.parse_args()


def run(options: argparse.Namespace) -> dict[str, object]:
    """Predicts, measures and compares.

    Raises:
        InvalidArgumentError: there is no such model, or it is not calibrated.
    """
    machine = read_machine()
    folder = find_model(options.model)
    gang = InProcessGang([load_denoiser(folder.path, model=folder.name) for _ in range(MEMBERS)])
    facts = with_calibration(gang.denoiser.facts, folder.path)
    steps, rows = options.steps or facts.default_steps, facts.row_count(facts.default_height_px)
    calibration = nearest(facts.calibrations, facts.samplers[0], steps)
    if calibration is None:
        raise InvalidArgumentError.of("--model", f"{folder.name} is not calibrated")
    draw = random.Random(options.seed)
    plans = [*plain_plans(steps, rows), *(random_plan(draw, steps, rows) for _ in range(options.plans))]
    plans = [legal(plan, facts) for plan in plans]
    measured: list[list[float]] = []
    for index in range(options.first_picture, options.first_picture + options.pictures):
        image = picture_of(facts, *prompt(index), steps)
        measured.append(measure(gang, image, plans, calibration.latent_range))
        print(f"picture {index}: {image.prompt}: {fmean(measured[-1]):.1f} dB", flush=True)
    told = {"model": folder.name, "first_picture": options.first_picture, "seed": options.seed}
    return {**told, **compared(calibration, plans, np.array(measured), steps), "machine": machine.as_json()}


def compared(calibration: Calibration, plans: list[Plan], measured_PN: np.ndarray, steps: int) -> dict[str, object]:
    """Prediction against measurement; N plans, P pictures."""
    distortion = Distortion(calibration=calibration, steps=steps, row_count=plans[0].row_count)
    predicted_db = np.array([distortion.plan_psnr_db(plan) for plan in plans])
    measured_db = measured_PN.mean(axis=0)
    return {
        "question": "how well is a plan's quality predicted on prompts that no calibration has seen?",
        "sampler": calibration.sampler,
        "steps": steps,
        "calibrated_steps": calibration.steps,
        "calibrated_pictures": calibration.pictures,
        "summary": summary(predicted_db, measured_PN),
        "plans": [describe(*each) for each in zip(plans, predicted_db, measured_db, strict=True)],
    }


def describe(plan: Plan, predicted_db: float, measured_db: float) -> dict[str, object]:
    """One plan of the result."""
    return {
        "predicted_db": round(float(predicted_db), 2),
        "measured_db": round(float(measured_db), 2),
        "segments": [
            [s.begin_step, s.end_step, s.exchange, [a.rows.count for a in s.assignments], list(s.strides)]
            for s in plan.segments
        ],
    }


def main() -> None:
    """Runs and writes the result."""
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    result = run(options)
    output = options.output or RESULTS / f"quality_prediction-{result['model']}.json"
    output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["summary"], indent=1))


if __name__ == "__main__":
    main()
