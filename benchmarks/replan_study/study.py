"""The whole study, from the list of scenarios to the result file. Owns the sequence of its phases."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from latency_study.campaign import Job, OpenFleet, measure
from latency_study.cases import DEMO
from latency_study.estimate import FLEET_S, OWN_PX, REST_OF_A_JOB_S, STEP_S, true_speeds

from replan_study.campaign import Round, RoundPlace, run_round
from replan_study.plans import Way
from replan_study.results import ReplanResults
from replan_study.scenarios import Scenario
from replan_study.summary import judge, scenario_row, way_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is done.

    Attributes:
        scenarios: in the order in which they run.
        rounds: of each.
        seed: of the order of each round.
        model: name of one that ships, or a folder.
        width_px: of the picture.
        height_px: of the picture.
        time_limit_s: no scenario begins that would end later; each one left out is named in the result.
    """

    scenarios: tuple[Scenario, ...]
    rounds: int
    seed: str
    model: str
    width_px: int
    height_px: int
    time_limit_s: float = inf

    def expected_s(self, scenario: Scenario, job: Job) -> float:
        """How long a scenario should take on a plain server, by steps, size and speeds."""
        step_s = STEP_S.get(self.model, STEP_S[DEMO]) * self.width_px * self.height_px / OWN_PX**2
        case = scenario.case(model=self.model, width_px=self.width_px, height_px=self.height_px, steps=job.steps)
        gang_s = len(Way) * (REST_OF_A_JOB_S + job.steps * step_s / sum(true_speeds(case)))
        solo_s = REST_OF_A_JOB_S + job.steps * step_s
        return FLEET_S + self.rounds * (FLEET_S + gang_s + solo_s)


async def run_study(
    extent: Extent,
    job: Job,
    open_fleet: OpenFleet,
    results: ReplanResults,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Runs every scenario; the result file is complete after each round.

    Raises:
        PolyrhythmError: a fleet does not start or a job fails.
    """
    begun_s = clock()
    missing = [scenario for scenario in extent.scenarios if not results.holds(scenario)]
    expected_s = sum(extent.expected_s(scenario, job) for scenario in missing)
    say(f"expected duration of {len(missing)} loads: {expected_s / 60:.0f} min on a plain server")
    for number, scenario in enumerate(missing, start=1):
        say(f"[{number}/{len(missing)}] {scenario.name}")
        if clock() - begun_s + extent.expected_s(scenario, job) > extent.time_limit_s:
            results.leave_out(scenario, f"would have ended after the limit of {extent.time_limit_s:.0f} s")
            say("left out: it would end after the time limit")
            continue
        await _run_scenario(extent, scenario, number, job, open_fleet, results, say)
    results.finish(judge(results.rows))


async def _run_scenario(
    extent: Extent,
    scenario: Scenario,
    number: int,
    job: Job,
    open_fleet: OpenFleet,
    results: ReplanResults,
    say: Callable[[str], None],
) -> None:
    case = scenario.case(model=extent.model, width_px=extent.width_px, height_px=extent.height_px, steps=job.steps)
    own = job.of(case)
    loaded = await measure(open_fleet, case, own)
    results.add_loaded(scenario, loaded)
    rounds: list[Round] = []
    for round_index in range(extent.rounds):
        place = RoundPlace(
            scenario=scenario, case=case, job=own, round_index=round_index, prompt_index=number + round_index
        )
        rounds.append(await run_round(open_fleet, place, loaded, seed=extent.seed))
        results.add_round(scenario, rounds[-1])
        say("measured: " + ", ".join(f"{run.way} {run.denoise_s:.2f} s" for run in rounds[-1].runs))
    results.add_rows(scenario_row(scenario, rounds, own.steps), way_rows(scenario, rounds))
