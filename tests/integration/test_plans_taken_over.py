"""A newer plan takes over in mid-image on a real gang: the picture is the simulator's, by the plans that were followed.

Tolerance: relative to max |latent|, fp64 1e-9, as for pictures by one plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.gang_plan import spliced
from polyrhythm.plan.plan import Assignment, Exchange, Plan, Segment
from polyrhythm.plan.rows import RowRange
from polyrhythm.session.events import BeatDone
from polyrhythm_agent.denoiser.loading import load_denoiser
from tests.oracles.reference import relative_difference
from tests.oracles.simulator import PlanSimulator
from tests.values.plans import agent_ids, plan, segment
from tests.worlds.gang import GangOptions, MemberRun, kept_members, run_gang

STEPS = 20
TOLERANCE = 1e-9
DISPLACED = Exchange.DISPLACED
STRIDED = (Sampler.DDIM, Sampler.DPM_SOLVER_PP_2M, Sampler.EULER)
"""What the tiny model offers and what takes strides."""
FIRST, SECOND = agent_ids(2)


def image(sampler: Sampler) -> ImageSpec:
    return ImageSpec(
        model="tiny",
        prompt="a red apple",
        width_px=128,
        height_px=128,
        steps=STEPS,
        seed=7,
        guidance=5.0,
        sampler=sampler,
        quality=Quality.EXACT,
    )


def before() -> Plan:
    return plan(
        segment(0, 4, (8, 8), beat_steps=2), segment(4, 20, (8, 8), exchange=DISPLACED, strides=(1, 2), beat_steps=4)
    )


AFTER = {
    "rows move to the second": plan(
        segment(12, 13, (5, 11), beat_steps=1),
        segment(13, 20, (4, 12), exchange=DISPLACED, beat_steps=4),
        begin_step=12,
        version=2,
    ),
    "the first is drained": plan(segment(12, 20, (0, 16), beat_steps=4), begin_step=12, version=2),
    "the second is drained": plan(segment(12, 20, (16, 0), beat_steps=4), begin_step=12, version=2),
    "the first is drained, steps are merged": plan(
        segment(12, 20, (0, 16), exchange=DISPLACED, strides=(1, 2), beat_steps=4), begin_step=12, version=2
    ),
    "strides change sides": plan(
        segment(12, 14, (6, 10), beat_steps=2),
        segment(14, 20, (6, 10), exchange=DISPLACED, strides=(2, 1), beat_steps=2),
        begin_step=12,
        version=2,
    ),
}
IN_TIME = {FIRST: 4, SECOND: 8}
"""Boundaries at which the newer plan reaches each of them: 8 is the last one at which they can agree on it."""


def run(
    folder: Path, newer: Mapping[AgentId, Mapping[int, Plan]], sampler: Sampler, first: Plan | None = None
) -> dict[AgentId, MemberRun]:
    options = GangOptions(newer=newer)
    return run_gang(first or before(), kept_members(folder, (FIRST, SECOND), torch.float64), image(sampler), options)


def assert_followed(folder: Path, runs: Mapping[AgentId, MemberRun], plans: tuple[Plan, ...], sampler: Sampler) -> None:
    """Every boundary of every member is what the simulator says of these plans, each up to the begin of the next."""
    denoiser = load_denoiser(folder, model="tiny", dtype=torch.float64)
    spec = image(sampler)
    with torch.inference_mode():
        simulated = PlanSimulator(denoiser.start(spec, denoiser.encode(spec))).follow(plans)
    ends = [*(later.begin_step for later in plans[1:]), STEPS]
    boundaries = {
        beat.end_step: each.version
        for each, end_step in zip(plans, ends, strict=True)
        for beat in each.beats()
        if beat.begin_step < end_step
    }
    for member in runs.values():
        reports = [event.report for event in member.events if isinstance(event, BeatDone)]
        assert {report.boundary_step: report.plan_version for report in reports} == boundaries
        for step, state in member.states.items():
            assert relative_difference(state.x_BCHW, simulated[step].x_BCHW) <= TOLERANCE, f"x at {step}"
            assert relative_difference(state.x0_BCHW, simulated[step].x0_BCHW) <= TOLERANCE, f"x0 at {step}"


@pytest.mark.parametrize("sampler", STRIDED)
@pytest.mark.parametrize("name", list(AFTER))
def test_a_newer_plan_takes_over_and_the_picture_is_the_simulators(folder: Path, name: str, sampler: Sampler) -> None:
    after = AFTER[name]
    runs = run(folder, {agent: {step: after} for agent, step in IN_TIME.items()}, sampler)
    assert_followed(folder, runs, (before(), after), sampler)


def test_a_plan_that_one_member_gets_too_late_is_followed_by_nobody(folder: Path) -> None:
    after = AFTER["rows move to the second"]
    runs = run(folder, {FIRST: {4: after}, SECOND: {12: after}}, Sampler.DDIM)
    assert_followed(folder, runs, (before(),), Sampler.DDIM)


def test_two_newer_plans_in_one_picture(folder: Path) -> None:
    first = replace(before(), segments=(segment(0, 4, (8, 8)), segment(4, 20, (8, 8), exchange=DISPLACED)))
    second = plan(segment(8, 10, (0, 16)), segment(10, 20, (0, 16), exchange=DISPLACED), begin_step=8, version=2)
    third = plan(segment(14, 16, (9, 7)), segment(16, 20, (9, 7), exchange=DISPLACED), begin_step=14, version=3)
    newer = {agent: {4: second, 10: third} for agent in (FIRST, SECOND)}
    runs = run(folder, newer, Sampler.DPM_SOLVER_PP_2M, first)
    assert_followed(folder, runs, (first, second, third), Sampler.DPM_SOLVER_PP_2M)


@pytest.mark.parametrize("sampler", STRIDED)
def test_plans_that_took_over_from_one_another_amount_to_one(folder: Path, sampler: Sampler) -> None:
    """What a picture's file says; another gang may have gone on with it too, and steps may have been made twice."""
    first, second = before(), AFTER["rows move to the second"]
    alone = Segment(
        begin_step=16,
        end_step=STEPS,
        beat_steps=4,
        exchange=Exchange.SYNCHRONOUS,
        assignments=(Assignment(agent=AgentId("newcomer"), rows=RowRange(begin=0, end=16)),),
    )
    third = plan(alone, begin_step=16, version=3)
    plans = (first, second, third)
    denoiser = load_denoiser(folder, model="tiny", dtype=torch.float64)
    spec = image(sampler)
    with torch.inference_mode():
        condition = denoiser.encode(spec)
        followed = PlanSimulator(denoiser.start(spec, condition)).follow(plans)[STEPS]
        one = spliced(plans)
        repeated = PlanSimulator(denoiser.start(spec, condition)).simulate(one)[STEPS]
    assert one.agents == (FIRST, SECOND, "newcomer")
    assert one.decoder == "newcomer"
    assert torch.equal(followed.x_BCHW, repeated.x_BCHW)


@pytest.mark.parametrize("late", [False, True])
def test_rows_move_in_a_family_whose_layers_need_their_neighbours(folders: Mapping[str, Path], *, late: bool) -> None:
    """Halos and moments of the old rows say nothing of the new ones: the synchronous step makes them good."""
    spec = replace(image(Sampler.DDIM), width_px=64, height_px=512)
    first = plan(segment(0, 4, (4, 4)), segment(4, 20, (4, 4), exchange=DISPLACED, strides=(1, 2), beat_steps=4))
    second = plan(
        segment(12, 13, (3, 5), beat_steps=1),
        segment(13, 20, (3, 5), exchange=DISPLACED, beat_steps=4),
        begin_step=12,
        version=2,
    )
    members = kept_members(folders["sd"], (FIRST, SECOND), torch.float64)
    newer = {FIRST: {4: second}, SECOND: {12 if late else 8: second}}
    runs = run_gang(first, members, spec, GangOptions(newer=newer))
    with torch.inference_mode():
        run = members[FIRST].start(spec, members[FIRST].encode(spec))
        simulated = PlanSimulator(run).follow((first,) if late else (first, second))
    for member in runs.values():
        for step, state in member.states.items():
            assert relative_difference(state.x_BCHW, simulated[step].x_BCHW) <= TOLERANCE, f"x at {step}"


def test_one_member_goes_on_with_merged_steps_in_a_family_whose_layers_need_their_neighbours(
    folders: Mapping[str, Path],
) -> None:
    """It has no neighbours any more, so nothing has to be made good; where it gets some again, something has."""
    spec = replace(image(Sampler.DDIM), width_px=64, height_px=512)
    first = plan(segment(0, 4, (4, 4)), segment(4, 20, (4, 4), exchange=DISPLACED, strides=(1, 2), beat_steps=4))
    second = plan(
        segment(12, 16, (0, 8), exchange=DISPLACED, strides=(1, 2)),
        segment(16, 17, (4, 4)),
        segment(17, 20, (4, 4), exchange=DISPLACED),
        begin_step=12,
        version=2,
    )
    members = kept_members(folders["sd"], (FIRST, SECOND), torch.float64)
    runs = run_gang(first, members, spec, GangOptions(newer={FIRST: {4: second}, SECOND: {8: second}}))
    with torch.inference_mode():
        run = members[FIRST].start(spec, members[FIRST].encode(spec))
        simulated = PlanSimulator(run).simulate(spliced((first, second)))
    for member in runs.values():
        for step, state in member.states.items():
            assert relative_difference(state.x_BCHW, simulated[step].x_BCHW) <= TOLERANCE, f"x at {step}"
