"""Runs a round of a scenario: every way of planning on one fresh fleet, beside a load that appears in mid-image.

Owns the order of things. Starts no process itself: fleets come from the caller.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from latency_study.campaign import PROBE_STEPS, Job, OpenFleet, PictureMaker
from latency_study.cases import Case
from latency_study.pictures import Pixels, pixels_of
from latency_study.variants import Measured, describe

from polyrhythm.errors import InternalError
from polyrhythm.plan.plan import Plan
from polyrhythm_coordinator.scheduling.planning.plan_builder import equal_patches_plan, solo_plan
from replan_study.load_timer import LoadTimer, Reaction
from replan_study.plans import ORACLES, Way, oracle_at_once, oracle_from_start
from replan_study.scenarios import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One picture beside which a load appeared.

    Attributes:
        way: how its plan was made.
        round_index: from 0.
        denoise_s: wall seconds of all steps.
        after_s: seconds from the first step to the begin of the load; None where the picture was done before.
        plans: that it followed, each in one line.
        reactions: plans that took over in mid-image.
        core_share: of its core that the loaded device's compute thread got, the time before the load included.
        pixels_HW3: of the picture.
    """

    way: Way
    round_index: int
    denoise_s: float
    after_s: float | None
    plans: tuple[str, ...]
    reactions: tuple[Reaction, ...]
    core_share: float
    pixels_HW3: Pixels


async def reference_picture(fleet: PictureMaker, job: Job, prompt_index: int, measured: Measured) -> Pixels:
    """The picture of the fastest device alone, made without a load."""
    request = measured.request(job.image(measured))
    fastest = min(measured.profiles, key=lambda profile: profile.forward_s(request.row_count)).agent
    picture = await fleet.picture(job.request(prompt_index, solo_plan(request, fastest)), lambda _: None)
    return pixels_of(picture.png)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """All ways once.

    Attributes:
        reference_HW3: the single device's picture.
        runs: a way each, in the order in which they ran.
    """

    reference_HW3: Pixels
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlace:
    """Which round of which scenario.

    Attributes:
        scenario: the load.
        case: its devices.
        job: its pictures.
        round_index: from 0.
        prompt_index: of the listed prompts.
    """

    scenario: Scenario
    case: Case
    job: Job
    round_index: int
    prompt_index: int


async def run_round(open_fleet: OpenFleet, place: RoundPlace, loaded: Measured, *, seed: str) -> Round:
    """All ways once, on a fresh fleet that has never seen the load.

    The re-planned picture comes first, since its fleet remembers what the load did to its devices; the other ways
    follow fixed plans, which no memory changes, in an order that the seed draws.

    Args:
        open_fleet: starts fleets.
        place: which round.
        loaded: what the oracles know: measured under the load.
        seed: of the order.

    Raises:
        InternalError: the fleet makes the picture without saying by which plan.
    """
    scenario, job = place.scenario, place.job
    async with open_fleet(place.case) as fleet:
        fleet.set_load(running=False)
        await fleet.explain(job.request(place.prompt_index))
        short = replace(job, steps=PROBE_STEPS)
        warm_up = equal_patches_plan(loaded.request(short.image(loaded)))
        await fleet.picture(short.request(place.prompt_index, warm_up), lambda _: None)
        replanned, timer = await _make(fleet, place, Way.REPLAN, None, None)
        first = timer.first_plan
        if first is None:
            raise InternalError("the fleet made a picture without saying by which plan")
        reference_HW3 = await reference_picture(fleet, job, place.prompt_index, loaded)
        image = job.image(loaded)
        plans = {
            Way.NO_REPLAN: replace(first, version=1),
            Way.AT_ONCE: oracle_at_once(first, loaded, image, scenario.moment),
            Way.FROM_START: oracle_from_start(loaded, image),
        }
        runs = [replanned]
        for way in way_order(seed, scenario, place.round_index):
            run, _ = await _make(fleet, place, way, plans[way], timer.after_s)
            runs.append(run)
    return Round(reference_HW3=reference_HW3, runs=tuple(runs))


def way_order(seed: str, scenario: Scenario, round_index: int) -> tuple[Way, ...]:
    """The ways that follow fixed plans, in the order of one round."""
    order = [Way.NO_REPLAN, *ORACLES]
    random.Random(f"order {seed} {scenario.name} {round_index}").shuffle(order)
    return tuple(order)


async def _make(
    fleet: PictureMaker, place: RoundPlace, way: Way, plan: Plan | None, after_s: float | None
) -> tuple[Run, LoadTimer]:
    loaded = place.scenario.load.device
    timer = LoadTimer(lambda: fleet.set_load(running=True), moment=place.scenario.moment, after_s=after_s)
    before = fleet.core_times()[loaded]
    try:
        picture = await fleet.picture(place.job.request(place.prompt_index, plan), timer.note)
    finally:
        timer.stop()
        fleet.set_load(running=False)
    share = fleet.core_times()[loaded].since(before).share
    run = Run(
        way=way,
        round_index=place.round_index,
        denoise_s=picture.report.denoise_s,
        after_s=timer.after_s if timer.begun_s is not None else None,
        plans=tuple(describe(followed) for followed in picture.report.plans),
        reactions=tuple(timer.reactions),
        core_share=share,
        pixels_HW3=pixels_of(picture.png),
    )
    return run, timer
