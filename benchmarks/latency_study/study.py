"""The whole study, from the list of cases to the result file. Owns the sequence of its phases."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from latency_study.aims import Aim, judge
from latency_study.campaign import Job, OpenFleet, make_pictures, measure, run_rounds
from latency_study.cases import Case, Group
from latency_study.estimate import case_s, distinct_plans, true_speeds
from latency_study.pictures import Pixels, compare
from latency_study.results import CaseQuality, ResultFile
from latency_study.summary import QualityRow, Row, Run, sha256_of, summarise
from latency_study.variants import PlannedVariant, Variant, ideal, plan_variants
from polyrhythm.plan.plan import Plan

Planned = Mapping[Variant, PlannedVariant]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is done.

    Attributes:
        cases: in the order in which they run.
        repetitions: rounds that count, for each case.
        fleet_repetitions: the same for drawn fleets.
        prompts: pictures a plan in the quality phase of the named pairs; 0 leaves it out.
        seed: of the order of each round.
        time_limit_s: no case begins that would end later; each one left out is named in the result.
    """

    cases: tuple[Case, ...]
    repetitions: int
    prompts: int
    seed: str
    fleet_repetitions: int = 2
    time_limit_s: float = inf

    def repetitions_of(self, case: Case) -> int:
        """Rounds that count."""
        return self.fleet_repetitions if case.group is Group.FLEETS else self.repetitions

    def prompts_of(self, case: Case) -> int:
        """Pictures a plan in the quality phase of a case."""
        return self.prompts if case.group is Group.PAIRS and not case.drawn else 0

    def expected_s(self, case: Case, job: Job) -> float:
        """How long a case should take."""
        return case_s(case, job, repetitions=self.repetitions_of(case), prompts=self.prompts_of(case))


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What came of it, earlier runs that were resumed included."""

    rows: tuple[Row, ...]
    qualities: tuple[QualityRow, ...]
    aims: tuple[Aim, ...]


async def run_study(
    extent: Extent,
    job: Job,
    open_fleet: OpenFleet,
    results: ResultFile,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> Findings:
    """Runs everything; the result file is complete after each case.

    Raises:
        PolyrhythmError: a fleet does not start or a job fails.
    """
    begun_s = clock()
    missing = [case for case in extent.cases if not results.holds(case)]
    if len(missing) < len(extent.cases):
        say(f"{len(extent.cases) - len(missing)} of {len(extent.cases)} cases are there from an earlier run")
    expected_s = sum(extent.expected_s(case, job) for case in missing)
    say(f"expected duration of {len(missing)} cases: {expected_s / 60:.0f} min on a plain server")
    done_s = pace = 0.0
    for number, case in enumerate(missing, start=1):
        own_s = extent.expected_s(case, job)
        if clock() - begun_s + own_s * (pace or 1.0) > extent.time_limit_s:
            say(f"[{number}/{len(missing)}] {case.name}: left out, it would end after the time limit")
            results.leave_out(case, f"would have ended after the limit of {extent.time_limit_s:.0f} s")
            continue
        say(f"[{number}/{len(missing)}] {case.name}")
        await _run_case(extent, case, job.of(case), open_fleet, results, say)
        done_s += own_s
        pace = (clock() - begun_s) / done_s
        say(f"          {pace:.2f} of the expected time so far")
    aims = judge(results.rows)
    results.finish(aims)
    return Findings(rows=results.rows, qualities=results.qualities, aims=aims)


async def _run_case(
    extent: Extent, case: Case, job: Job, open_fleet: OpenFleet, results: ResultFile, say: Callable[[str], None]
) -> None:
    measured = await measure(open_fleet, case, job)
    image = job.image(measured)
    planned = plan_variants(measured, image, case.variants)
    ideal_s = ideal(true_speeds(case), measured, image, case.variants)
    results.add_predictions(case, measured, planned, ideal_s)
    say("predicted: " + ", ".join(f"{v} {one.prediction.denoise_s:.2f} s" for v, one in planned.items()))
    repetitions = extent.repetitions_of(case)
    rounds = run_rounds(open_fleet, case, job, planned, repetitions=repetitions, seed=extent.seed)
    runs = [run async for run in rounds]
    rows = summarise(case, planned, runs, ideal_s)
    say("measured:  " + ", ".join(f"{row.variant} {row.denoise_s.median:.2f} s" for row in rows))
    quality = None
    if prompts := extent.prompts_of(case):
        quality = await _quality(case, job, open_fleet, planned, runs, prompts)
        say(f"{quality.identical} of {quality.compared} pictures have the same pixels at full speed")
    results.add_case(case, runs, rows, quality)


async def _quality(
    case: Case, job: Job, open_fleet: OpenFleet, planned: Planned, runs: Sequence[Run], prompts: int
) -> CaseQuality:
    plans = distinct_plans(planned)
    pictures: dict[Plan, list[Pixels]] = {plan: [] for plan in plans}
    async for _, plan, pixels_HW3 in make_pictures(open_fleet, case, job, plans, prompts):
        pictures[plan].append(pixels_HW3)
    same = [
        run.pixels_sha256 == sha256_of(pictures[planned[run.variant].plan][run.round_index])
        for run in runs
        if run.round_index < prompts
    ]
    return CaseQuality(
        rows=tuple(
            QualityRow(
                case=case.name,
                variant=variant,
                quality=compare(pictures[one.plan], pictures[planned[Variant.SOLO].plan]),
            )
            for variant, one in planned.items()
            if variant is not Variant.SOLO
        ),
        compared=len(same),
        identical=sum(same),
    )
