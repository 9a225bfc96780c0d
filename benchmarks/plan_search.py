"""How long a plan takes to find, and how far it is from the best one: random fleets, no process is started.

METHODOLOGY.md says how each number is made. Writes plan_search.json.

    python benchmarks/plan_search.py
    python benchmarks/plan_search.py --fleets 2 --gap-fleets 1
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import combinations, groupby, permutations, product
from pathlib import Path
from statistics import median

from machine import read_machine

from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.facts import ModelFacts, ModelPart
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm.plan.profile import Link, Profile, Workload
from polyrhythm_agent.calibration.file import with_calibration
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_agent.model_files.model_folder import find_model
from polyrhythm_coordinator.scheduling.planning.distortion import Expected, distortion_of
from polyrhythm_coordinator.scheduling.planning.gang_rows import DoesNotFitError
from polyrhythm_coordinator.scheduling.planning.memory_model import share_need
from polyrhythm_coordinator.scheduling.planning.plan_builder import Cut, GangPlans, equal_patches_plan
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest, SearchEffort
from polyrhythm_coordinator.scheduling.planning.quality_policy import BALANCED_LOSS_DB, policy_of
from polyrhythm_coordinator.scheduling.planning.search import search_plan

RESULT = Path(__file__).parent / "results" / "plan_search.json"
AGENTS = (1, 2, 3, 4, 5, 6, 7, 9, 13, 16, 21, 32, 47, 64)
GAP_AGENTS = (2, 3, 4, 5, 6)
WARMUP = 4
STEPS, ROWS = 50, 128


def random_request(draw: random.Random, facts: ModelFacts, agents: int, *, steps: int, rows: int) -> PlanRequest:
    """Speeds 1 : 0.2 at most, a fixed share of 2 to 15 %, links of 10 GbE to PCIe."""
    image = ImageSpec(
        model=facts.name,
        prompt="a red apple",
        width_px=facts.default_width_px,
        height_px=rows * facts.row_unit_px,
        steps=steps,
        seed=0,
        guidance=facts.default_guidance,
        sampler=facts.samplers[0],
        quality=Quality.BALANCED,
    )
    work = Workload(model=facts.name, width_px=image.width_px, height_px=image.height_px, batch=2)
    profiles: list[Profile] = []
    for index in range(agents):
        whole_s, fixed = 0.1 / draw.uniform(0.2, 1.0), draw.uniform(0.02, 0.15)
        profiles.append(
            Profile(
                agent=AgentId(f"gpu-{index}"),
                workload=work,
                fixed_s=whole_s * fixed,
                per_row_s=whole_s * (1 - fixed) / rows,
                encode_s=0.01,
                decode_s=0.05,
                samples=1,
            )
        )
    links = {
        pair: Link(latency_s=draw.uniform(1e-5, 3e-4), bytes_per_s=10 ** draw.uniform(9, 10.5))
        for pair in permutations((p.agent for p in profiles), 2)
    }
    return PlanRequest(image=image, facts=facts, profiles=tuple(profiles), links=links)


def stretched(facts: ModelFacts, steps: int, rows: int) -> ModelFacts:
    """The facts with calibrations on both sides of a length, at a size: their numbers, whatever they would mean there.

    Between two lengths a prediction costs the most.
    """
    longest = max(facts.calibrations, key=lambda one: one.steps, default=None)
    if longest is None:
        return facts

    def at(begins: tuple[int, ...], length: int) -> tuple[int, ...]:
        return tuple(begin * length // longest.steps for begin in begins)

    both = tuple(
        replace(
            longest,
            steps=length,
            stale_begin_steps=at(longest.stale_begin_steps, length),
            merge_steps=at(longest.merge_steps, length),
            following_steps=at(longest.following_steps, length),
            unequal_begin_steps=at(longest.unequal_begin_steps, length),
            width_px=facts.default_width_px,
            height_px=rows * facts.row_unit_px,
        )
        for length in (steps * 4 // 5, steps * 6 // 5)
    )
    return replace(facts, calibrations=both)


def with_random_memory(draw: random.Random, request: PlanRequest) -> PlanRequest:
    """Half of the candidates, and never the fastest, hold no more than a random share of the picture, and decode it."""
    fastest = min(request.profiles, key=lambda profile: profile.forward_s(request.row_count)).agent
    usable = {
        agent: share_need(
            request,
            agent,
            rows=draw.randint(1, request.row_count),
            exchange=Exchange.DISPLACED,
            in_gang=True,
            roles=frozenset(ModelPart),
        ).total_bytes
        for agent in request.agents
        if agent != fastest and draw.random() < 0.5
    }
    return replace(request, usable_bytes=usable)


def timed_ms(request: PlanRequest) -> tuple[float, Plan]:
    """CPU milliseconds of one search: other programs on the machine do not count."""
    begin_s = time.process_time()
    plan = search_plan(request).chosen.plan
    return (time.process_time() - begin_s) * 1e3, plan


def plan_times(draw: random.Random, facts: ModelFacts, fleets: int) -> list[dict[str, object]]:
    """First plans and re-plans in mid-image, by the number of agents."""
    found: list[dict[str, object]] = []
    facts = stretched(facts, STEPS, ROWS)
    for agents in AGENTS:
        first_ms: list[float] = []
        again_ms: list[float] = []
        for _ in range(fleets):
            request = random_request(draw, facts, agents, steps=STEPS, rows=ROWS)
            taken_ms, plan = timed_ms(request)
            first_ms.append(taken_ms)
            slower = (replace(request.profiles[0], per_row_s=2 * request.profiles[0].per_row_s), *request.profiles[1:])
            again = replace(request, profiles=slower, begin_step=20, version=2, running=plan, effort=SearchEffort.QUICK)
            again_ms.append(timed_ms(again)[0])
        found.append(
            {
                "agents": agents,
                "first_median_ms": round(median(first_ms), 1),
                "first_largest_ms": round(max(first_ms), 1),
                "replan_median_ms": round(median(again_ms), 1),
                "replan_largest_ms": round(max(again_ms), 1),
            }
        )
        print(found[-1], flush=True)
    return found


def gaps(draw: random.Random, facts: ModelFacts, fleets: int) -> list[dict[str, object]]:
    """Chosen over best, of plans of few steps: all gangs, strides and placements, within the same budget."""
    found: list[dict[str, object]] = []
    for agents in GAP_AGENTS:
        cells = 5 if agents <= 3 else 4 if agents == 4 else 3
        shares: list[float] = []
        for _ in range(fleets):
            request = with_random_memory(draw, random_request(draw, facts, agents, steps=WARMUP + 2 * cells, rows=16))
            chosen_s = search_plan(request).chosen.prediction.total_s
            shares.append(chosen_s / brute_force_s(request) - 1)
        found.append(
            {
                "agents": agents,
                "fleets": fleets,
                "gap_mean_percent": round(100 * sum(shares) / len(shares), 3),
                "gap_largest_percent": round(100 * max(shares), 3),
            }
        )
        print(found[-1], flush=True)
    return found


def brute_force_s(request: PlanRequest) -> float:
    """Seconds of the fastest plan within the budget; rows are optimal by the builder."""
    distortion = distortion_of(request)
    assert distortion is not None, "the model is calibrated"
    least = distortion.plan_expected(equal_patches_plan(request)).less(BALANCED_LOSS_DB + 1e-9)
    policy = replace(policy_of(Quality.BALANCED), reduced_share_max=1.0)
    best_s = float("inf")
    for size in range(1, len(request.agents) + 1):
        for gang in combinations(request.agents, size):
            plans = GangPlans(request, gang, policy=policy)
            for plan in _all_plans(request, plans, size):
                seconds = plans.cost.total_s(plan)
                if seconds < best_s and _reaches(distortion.plan_expected(plan), least):
                    best_s = seconds
    return best_s


def _reaches(expected: Expected, least: Expected) -> bool:
    return expected.mean_db >= least.mean_db and expected.low_db >= least.low_db


def _all_plans(request: PlanRequest, plans: GangPlans, size: int) -> Iterator[Plan]:
    begin = 0 if size == 1 else WARMUP
    cells = (request.image.steps - begin) // 2
    whole_s = [profile.forward_s(request.row_count) for profile in plans.cost.profiles]
    fastest = whole_s.index(min(whole_s))
    full_rate = (1,) * size
    warmup = [Cut(begin_step=0, end_step=WARMUP, exchange=Exchange.SYNCHRONOUS, strides=full_rate)] if begin else []
    for strides in product((1, 2), repeat=size):
        if strides[fastest] == 1:
            for placed in product(sorted({full_rate, strides}), repeat=cells):
                with suppress(DoesNotFitError):
                    yield plans.compose([*warmup, *_runs(begin, placed)])


def _runs(begin: int, placed: tuple[tuple[int, ...], ...]) -> Iterator[Cut]:
    for strides, run in groupby(placed):
        end = begin + 2 * len(list(run))
        exchange = Exchange.SYNCHRONOUS if strides == (1,) else Exchange.DISPLACED
        yield Cut(begin_step=begin, end_step=end, exchange=exchange, strides=strides)
        begin = end


def main() -> None:
    """Runs and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleets", type=int, default=5, metavar="N", help="random fleets a number of agents")
    parser.add_argument("--gap-fleets", type=int, default=5, metavar="N", help="the same for the gap")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULT, metavar="FILE")
    options = parser.parse_args()
    folder = find_model("demo-transformer")
    facts = with_calibration(load_denoiser(folder.path, model=folder.name).facts, folder.path)
    draw = random.Random(options.seed)
    result = {
        "question": "how long does a plan take to find, and how far is it from the best one?",
        "calibrated": plan_times(draw, facts, options.fleets),
        "not_calibrated": plan_times(draw, replace(facts, calibrations=()), options.fleets),
        "gap_to_brute_force": gaps(draw, facts, options.gap_fleets),
        "machine": read_machine().as_json(),
    }
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
