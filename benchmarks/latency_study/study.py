"""The whole study, from the list of pairs to the result file. Owns the sequence of its phases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from latency_study.aims import Aim, judge
from latency_study.campaign import Job, OpenFleet, make_pictures, measure, run_rounds
from latency_study.estimate import distinct_plans, study_s
from latency_study.pairs import SpeedPair
from latency_study.pictures import Pixels, compare
from latency_study.results import ResultFile
from latency_study.summary import QualityRow, Row, Run, sha256_of, summarise
from latency_study.variants import PlannedVariant, Variant, ideal, plan_variants
from polyrhythm.plan import Plan

Planned = Mapping[Variant, PlannedVariant]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is done.

    Attributes:
        pairs: the devices.
        repetitions: rounds that count, for each pair.
        prompts: pictures a plan in the quality phase; 0 leaves it out.
        seed: of the order of each round.
    """

    pairs: tuple[SpeedPair, ...]
    repetitions: int
    prompts: int
    seed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What came of it."""

    rows: tuple[Row, ...]
    qualities: tuple[QualityRow, ...]
    aims: tuple[Aim, ...]


async def run_study(
    extent: Extent, job: Job, open_fleet: OpenFleet, results: ResultFile, say: Callable[[str], None]
) -> Findings:
    """Runs everything; the result file is complete after each step.

    Raises:
        PolyrhythmError: a fleet does not start or a job fails.
    """
    rows: list[Row] = []
    runs_of: dict[SpeedPair, list[Run]] = {}
    planned_for: dict[SpeedPair, Planned] = {}
    for number, pair in enumerate(extent.pairs):
        say(f"[{number + 1}/{len(extent.pairs)}] {pair.name}: measuring on a fleet of its own")
        measured = await measure(open_fleet, pair, job)
        if number == 0:
            whole_s = study_s(measured, pair, extent.pairs, job, repetitions=extent.repetitions, prompts=extent.prompts)
            say(f"expected duration of the whole study: {whole_s / 60:.0f} min")
        image = job.image(measured)
        planned = plan_variants(measured, image)
        ideal_s = ideal(pair.speeds, measured, image)
        results.add_predictions(pair, measured, planned, ideal_s)
        say("predicted: " + ", ".join(f"{v} {one.prediction.denoise_s:.2f} s" for v, one in planned.items()))
        rounds = run_rounds(open_fleet, pair, job, planned, repetitions=extent.repetitions, seed=extent.seed)
        runs = [run async for run in rounds]
        new = summarise(pair, planned, runs, ideal_s)
        results.add_runs(pair, runs, new)
        say("measured:  " + ", ".join(f"{row.variant} {row.denoise_s.median:.2f} s" for row in new))
        rows += new
        runs_of[pair], planned_for[pair] = runs, planned
    named = {pair: planned for pair, planned in planned_for.items() if not pair.drawn}
    qualities = await _quality(extent, job, open_fleet, results, say, named, runs_of) if extent.prompts else ()
    aims = judge(rows)
    results.finish(aims)
    return Findings(rows=tuple(rows), qualities=qualities, aims=aims)


async def _quality(
    extent: Extent,
    job: Job,
    open_fleet: OpenFleet,
    results: ResultFile,
    say: Callable[[str], None],
    named: Mapping[SpeedPair, Planned],
    runs_of: Mapping[SpeedPair, Sequence[Run]],
) -> tuple[QualityRow, ...]:
    plans = distinct_plans(list(named.values()))
    say(f"quality: {len(plans)} plans, {extent.prompts} prompts each, on devices that run freely")
    pictures: dict[Plan, list[Pixels]] = {plan: [] for plan in plans}
    async for _, plan, pixels_HW3 in make_pictures(open_fleet, job, plans, extent.prompts, devices=2):
        pictures[plan].append(pixels_HW3)
    qualities = tuple(
        QualityRow(
            pair=pair.name,
            variant=variant,
            quality=compare(pictures[one.plan], pictures[planned[Variant.SOLO].plan]),
        )
        for pair, planned in named.items()
        for variant, one in planned.items()
        if variant is not Variant.SOLO
    )
    same = [
        run.pixels_sha256 == sha256_of(pictures[planned[run.variant].plan][run.round_index])
        for pair, planned in named.items()
        for run in runs_of[pair]
        if run.round_index < extent.prompts
    ]
    results.add_quality(qualities, compared=len(same), identical=sum(same))
    say(f"{sum(same)} of {len(same)} pictures of the latency rounds have the same pixels at full speed")
    return qualities
