"""The search under a quality budget against brute force: every gang, stride assignment and placement of steps."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, groupby, pairwise, product
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrhythm.ids import AgentId
from polyrhythm.job.image import Overrides, Quality
from polyrhythm.model.calibration import Calibration, mean_age
from polyrhythm.plan.gang_plan import steps_taken
from polyrhythm.plan.plan import Exchange, Plan
from polyrhythm.plan.profile import Link
from polyrhythm_agent.exchange.schedule import reads
from polyrhythm_coordinator.scheduling.planning.distortion import Distortion, Expected, distortion_of
from polyrhythm_coordinator.scheduling.planning.plan_builder import Cut, GangPlans, equal_patches_plan
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.quality_policy import policy_of
from polyrhythm_coordinator.scheduling.planning.search import INDIFFERENCE, search_plan
from tests.values.calibrations import calibration
from tests.values.plan_requests import NO_COST, plan_request
from tests.values.plans import plan, segment

WARMUP = 4
LOSS_DB = {Quality.BALANCED: 1.0, Quality.FAST: 3.0}
speed = st.floats(min_value=0.05, max_value=1.0)
links = st.just(NO_COST) | st.builds(Link, latency_s=st.floats(0, 2e-3), bytes_per_s=st.floats(1e8, 1e10))
touchiness = st.lists(st.floats(0.3, 3), min_size=1, max_size=4).map(
    lambda times: tuple(t for one in times for t in (one, 1.0, one**-0.5, one**0.5))
)


@st.composite
def calibrations(draw: st.DrawFn, steps: int) -> tuple[Calibration, ...]:
    """Of grids on both sides of a picture's, or of its own, near enough to be trusted."""
    lengths = {max(WARMUP, steps - draw(st.integers(0, 3))), steps + draw(st.integers(0, 3))}
    drawn = {
        "width": draw(st.integers(2, 5)),
        "together": draw(st.floats(0, 2)),
        "scale": draw(st.floats(0.1, 10)),
        "following": draw(st.floats(0, 1.5)),
        "unequal": draw(st.floats(0, 3)),
        "touchiness": draw(touchiness),
        "seam_power": draw(st.floats(-0.5, 0.5)),
    }
    return tuple(calibration(steps=length, **drawn) for length in sorted(lengths))


@st.composite
def requests(draw: st.DrawFn, *, agents_max: int = 4, cells_max: int = 5) -> PlanRequest:
    """Balanced and fast pictures of few steps on a calibrated model, some of them resumed."""
    begin = draw(st.integers(0, 9))
    warm_end = max(WARMUP, begin + 1)
    request = plan_request(
        draw(st.lists(speed, min_size=1, max_size=agents_max)),
        link=draw(links),
        quality=draw(st.sampled_from([Quality.BALANCED, Quality.FAST])),
        steps=warm_end + draw(st.integers(0, 2 * cells_max + 1)),
        begin_step=begin,
        fixed_share=draw(st.floats(0.0, 0.3)),
        whole_s=draw(st.floats(0.05, 2)),
    )
    return replace(request, facts=replace(request.facts, calibrations=draw(calibrations(request.image.steps))))


def predictor(request: PlanRequest) -> Distortion:
    found = distortion_of(request)
    assert found is not None
    return found


def floor(request: PlanRequest) -> Expected:
    """What a plan has to reach: equal patches on all candidates, on two halves where there is only one."""
    found, loss_db = predictor(request), LOSS_DB[request.image.quality]
    steps, begin = request.image.steps, max(WARMUP, request.begin_step + 1)
    if len(request.agents) > 1:
        reference = equal_patches_plan(request)
    elif begin >= steps:
        reference = plan(segment(request.begin_step, steps, (8, 8), beat_steps=1), begin_step=request.begin_step)
    else:
        reference = plan(
            segment(0, begin, (8, 8), beat_steps=1),
            segment(begin, steps, (8, 8), exchange=Exchange.DISPLACED, beat_steps=1),
        )
    return found.plan_expected(reference).less(loss_db)


def keeps(request: PlanRequest, candidate: Plan, least: Expected, *, rounding_db: float) -> bool:
    """Whether a plan is good enough in the mean over pictures and on the touchiest ones."""
    found = predictor(request).plan_expected(candidate)
    return found.mean_db >= least.mean_db - rounding_db and found.low_db >= least.low_db - rounding_db


def brute_force_s(request: PlanRequest) -> float:
    """Seconds of the fastest of all plans that reach the floor; rows by the builder, which has tests of its own."""
    least = floor(request)
    policy = replace(policy_of(request.image.quality), reduced_share_max=1.0)
    best_s = float("inf")
    for size in range(1, len(request.agents) + 1):
        for gang in combinations(request.agents, size):
            plans = GangPlans(request, gang, policy=policy)
            for candidate in _all_plans(request, plans, size):
                seconds = plans.cost.total_s(candidate)
                if seconds < best_s and keeps(request, candidate, least, rounding_db=1e-9):
                    best_s = seconds
    return best_s


def _all_plans(request: PlanRequest, plans: GangPlans, size: int) -> list[Plan]:
    fast = request.image.quality is Quality.FAST
    warmup = 2 if fast else WARMUP
    begin = request.begin_step if size == 1 else min(request.image.steps, max(warmup, request.begin_step + 1))
    cells = (request.image.steps - begin) // 2
    whole_s = [profile.forward_s(request.row_count) for profile in plans.cost.profiles]
    fastest = whole_s.index(min(whole_s))
    made: list[Plan] = []
    for strides in product((1, 2), repeat=size):
        if strides[fastest] != 1:
            continue
        kinds: list[tuple[int, ...]] = sorted({(1,) * size, strides, *([(2,) * size] if fast else [])})
        for placed in product(kinds, repeat=cells):
            steps = [kind for kind in placed for _ in range(2)]
            steps += [(1,) * size] * (request.image.steps - begin - len(steps))
            cuts = [
                Cut(begin_step=request.begin_step, end_step=begin, exchange=Exchange.SYNCHRONOUS, strides=(1,) * size)
            ]
            made.append(plans.compose([*(cuts if begin > request.begin_step else []), *_runs(begin, steps)]))
    return made


def _runs(begin: int, steps: list[tuple[int, ...]]) -> list[Cut]:
    cuts: list[Cut] = []
    for strides, run in groupby(steps):
        end = begin + len(list(run))
        alone = strides == (1,)
        cuts.append(
            Cut(
                begin_step=begin,
                end_step=end,
                exchange=Exchange.SYNCHRONOUS if alone else Exchange.DISPLACED,
                strides=strides,
            )
        )
        begin = end
    return cuts


@settings(max_examples=25, deadline=None)
@given(requests(agents_max=3, cells_max=4))
def test_the_search_is_within_one_percent_of_brute_force(request: PlanRequest) -> None:
    chosen = search_plan(request).chosen
    assert chosen.prediction.total_s <= brute_force_s(request) * 1.01 + 1e-12


@settings(max_examples=4, deadline=None)
@given(st.lists(speed, min_size=4, max_size=4), calibrations(10))
def test_the_search_is_within_one_percent_of_brute_force_for_four(
    speeds: list[float], numbers: tuple[Calibration, ...]
) -> None:
    request = plan_request(speeds, steps=10)
    request = replace(request, facts=replace(request.facts, calibrations=numbers))
    assert search_plan(request).chosen.prediction.total_s <= brute_force_s(request) * 1.01 + 1e-12


@settings(max_examples=60, deadline=None)
@given(requests(agents_max=8, cells_max=24))
def test_every_plan_keeps_the_budget_and_none_is_slower_than_the_best_device_alone(request: PlanRequest) -> None:
    explanation = search_plan(request)
    for candidate in (explanation.chosen, *explanation.runners_up):
        assert candidate.prediction.psnr_db is not None
        assert keeps(request, candidate.plan, floor(request), rounding_db=1e-6)
    alone = (search_plan(replace(request, profiles=(profile,))).chosen for profile in request.profiles)
    # Alone it is held to two halves, which may lose more than the whole fleet's equal patches do.
    alone_s = min(
        (one.prediction.total_s for one in alone if keeps(request, one.plan, floor(request), rounding_db=-1e-6)),
        default=inf,
    )
    assert explanation.chosen.prediction.total_s <= alone_s * (1 + INDIFFERENCE)


@settings(max_examples=60, deadline=None)
@given(requests(agents_max=6, cells_max=24))
def test_only_fast_takes_a_step_away_from_the_fastest_member(request: PlanRequest) -> None:
    explanation = search_plan(replace(request, image=replace(request.image, quality=Quality.BALANCED)))
    for candidate in (explanation.chosen, *explanation.runners_up):
        members = candidate.plan.agents
        fastest = min(members, key=lambda agent: request.profile(agent).forward_s(request.row_count))
        assert all(part.of(fastest).stride == 1 for part in candidate.plan.segments)
        taken = steps_taken((candidate.plan,))
        assert taken.fast_rows == request.image.steps - request.begin_step


@settings(max_examples=60, deadline=None)
@given(requests(agents_max=5, cells_max=12), st.data())
def test_no_plan_violates_an_override(request: PlanRequest, data: st.DataObject) -> None:
    steps = request.image.steps
    overrides = Overrides(
        max_stride=data.draw(st.sampled_from([None, 1, 2, 4])),
        warmup_steps=data.draw(st.none() | st.integers(1, steps)),
        tail_steps=data.draw(st.none() | st.integers(0, steps)),
        devices=tuple(data.draw(st.sets(st.sampled_from(request.agents)))),
    )
    quality = data.draw(st.sampled_from([Quality.BALANCED, Quality.FAST]))
    image = replace(request.image, overrides=overrides, quality=quality)
    explanation = search_plan(replace(request, image=image))
    for candidate in (explanation.chosen, *explanation.runners_up):
        check_overrides(candidate.plan, overrides)
    named: set[AgentId] = set(overrides.devices) or set(request.agents)
    assert {exclusion.agent for exclusion in explanation.exclusions} >= set(request.agents) - named


def check_overrides(chosen: Plan, overrides: Overrides) -> None:
    strides = {stride for part in chosen.segments for stride in part.strides}
    assert max(strides) <= (overrides.max_stride or 2)
    assert set(chosen.agents) <= set(overrides.devices or chosen.agents)
    for part in chosen.segments:
        if part.begin_step < (overrides.warmup_steps or 0):
            assert part.exchange is Exchange.SYNCHRONOUS
        if part.end_step > chosen.steps - (overrides.tail_steps or 0):
            assert max(part.strides) == 1


@given(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]))
def test_ages_are_those_of_the_versions_that_agents_read(reader: int, owner: int) -> None:
    made = plan(
        segment(0, 4, (8, 8)),
        segment(4, 28, (8, 8), exchange=Exchange.DISPLACED, strides=(reader, owner), beat_steps=4),
    )
    beats = tuple(made.beats())
    ages = [
        step - next(read.version for read in reads(beat, before, made.agents[0], step) if read.source != made.agents[0])
        for before, beat in pairwise(beats)
        for step in beat.active_steps(made.agents[0])
        if beat.begin_step >= 8  # the first beat still reads what the warm-up left
    ]
    assert sum(ages) / len(ages) == pytest.approx(mean_age(reader, owner))
