"""The study of re-planning: loads, plans that knew, the moment of a load, the order of a round, numbers and files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from latency_study.campaign import Job
from latency_study.cases import Case, Load
from latency_study.estimate import true_speeds
from latency_study.variants import Measured
from replan_study.campaign import Round, Run
from replan_study.load_timer import LoadTimer, Reaction
from replan_study.plans import Way, load_boundary, oracle_at_once, oracle_from_start
from replan_study.results import TITLE, ReplanResults, page
from replan_study.scenarios import Scenario, scenarios
from replan_study.study import Extent, run_study
from replan_study.summary import judge, scenario_row, way_rows
from result_document import OtherSettingsError, read_document

from polyrhythm.job.events import ImagePlanned, ImageProgressed, ImageReplanned, JobEvent, ReplanReason
from polyrhythm.job.image import ImageRequest
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Assignment, Plan
from polyrhythm_client.pictures import Picture
from tests.tools.benchmarks.study_fleet import FACTS, CalculatedFleet

JOB = Job(steps=40, sampler=Sampler.DDIM)
LATE = Scenario(speeds=(1.0, 1.0), load=Load(device=1, share=0.6), moment=1 / 3)
MACHINE = {"cpu_model": "cpu", "cores": 2}
PATIENCE_S = 5.0


class LoadableFleet(CalculatedFleet):
    """Beside a load, goes on with a picture only once that has begun; planned anew then unless it was given a plan."""

    def __init__(self, case: Case) -> None:
        super().__init__((1.0, 1.0), emulated=case.speeds)
        self.without_load = self.speeds
        self.with_load = dict(zip(self.speeds, true_speeds(case), strict=True))
        self.loaded = asyncio.Event()
        self.set_load(running=True)

    def set_load(self, *, running: bool) -> None:
        super().set_load(running=running)
        self.speeds = self.with_load if running else self.without_load
        if running:
            self.loaded.set()
        else:
            self.loaded.clear()

    async def picture(self, request: ImageRequest, on_event: Callable[[JobEvent], None]) -> Picture:
        explanation = await self.explain(request)
        plan = request.plan or explanation.chosen.plan
        watched = isinstance(getattr(on_event, "__self__", None), LoadTimer)
        if watched:
            chosen = replace(explanation.chosen, plan=plan)
            on_event(ImagePlanned(image_index=0, explanation=replace(explanation, chosen=chosen)))
            on_event(ImageProgressed(image_index=0, step=30, steps=plan.steps, left_s=1.0, agents=plan.agents))
            await asyncio.wait_for(self.loaded.wait(), PATIENCE_S)
        if watched and request.plan is None:
            on_event(ImageReplanned(image_index=0, reason=ReplanReason.SPEED_CHANGED, begin_step=20, plan=plan))
        return await super().picture(replace(request, plan=plan), lambda _: None)


class Yard:
    def __init__(self) -> None:
        self.fleets: list[LoadableFleet] = []

    @asynccontextmanager
    async def open(self, case: Case) -> AsyncIterator[LoadableFleet]:
        self.fleets.append(LoadableFleet(case))
        yield self.fleets[-1]


def measured(speeds: tuple[float, ...]) -> Measured:
    profiles = CalculatedFleet(speeds).plan_request(JOB.request(0)).profiles
    return Measured(facts=FACTS, profiles=profiles, links={})


def first_plan() -> Plan:
    free = measured((1.0, 1.0))
    return oracle_from_start(free, JOB.image(free))


def shares(plan: Plan) -> list[tuple[int, int, tuple[Assignment, ...]]]:
    return [(segment.begin_step, segment.end_step, segment.assignments) for segment in plan.segments]


def test_named_loads_come_at_a_third_and_fewer_drawn_ones_are_the_first_of_more() -> None:
    found = scenarios("7", 6)
    assert found == scenarios("7", 6)
    assert found[:4] == scenarios("7", 2)
    assert [one.moment for one in found[:2]] == [1 / 3, 1 / 3]
    assert not any(one.drawn for one in found[:2])
    assert len({one.name for one in found}) == len(found)
    with pytest.raises(ValueError, match="within the picture"):
        replace(LATE, moment=1.0)


def test_the_oracle_follows_the_first_plan_up_to_the_load_and_gives_rows_away_then() -> None:
    first, loaded = first_plan(), measured((1.0, 0.4))
    image = JOB.image(loaded)
    boundary = load_boundary(first, 1 / 3)
    assert boundary in {beat.end_step for beat in first.beats()}
    assert JOB.steps / 3 <= boundary < JOB.steps / 3 + 5
    knew = oracle_at_once(first, loaded, image, 1 / 3)
    assert knew.begin_step == 0
    before = [segment for segment in knew.segments if segment.end_step <= boundary]
    after = [segment for segment in knew.segments if segment.begin_step >= boundary]
    assert len(before) + len(after) == len(knew.segments)
    assert before[0] == first.segments[0]
    fast, slow = after[-1].assignments
    assert fast.rows.count > slow.rows.count
    assert oracle_from_start(loaded, image).segments[0] != first.segments[0]


def test_a_load_near_the_end_still_leaves_a_beat() -> None:
    first = first_plan()
    assert load_boundary(first, 0.99) == list(first.beats())[-2].end_step


async def test_the_load_begins_so_long_after_the_first_step() -> None:
    begun, loop = asyncio.Event(), asyncio.get_running_loop()
    timer = LoadTimer(begun.set, moment=0.5)
    fleet = CalculatedFleet((1.0, 1.0))
    explanation = await fleet.explain(JOB.request(0))
    chosen = explanation.chosen
    timer.note(ImagePlanned(image_index=0, explanation=explanation))
    assert timer.first_plan == chosen.plan
    assert timer.after_s == pytest.approx(chosen.prediction.denoise_s / 2)
    told_s = loop.time()
    timer.note(ImageProgressed(image_index=0, step=0, steps=40, left_s=1.0, agents=chosen.plan.agents))
    timer.note(ImageProgressed(image_index=0, step=15, steps=40, left_s=1.0, agents=chosen.plan.agents))
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    assert timer.begun_s is not None
    assert timer.begun_s - told_s >= chosen.prediction.denoise_s * (0.5 - 15 / 40) - 0.01


async def test_a_load_whose_picture_is_done_never_begins() -> None:
    timer = LoadTimer(lambda: pytest.fail("it began"), moment=0.5, after_s=0.01)
    timer.note(ImageProgressed(image_index=0, step=1, steps=40, left_s=1.0, agents=()))
    timer.stop()
    later = asyncio.Event()
    other = LoadTimer(later.set, moment=0.5, after_s=0.01)  # due after it
    other.note(ImageProgressed(image_index=0, step=1, steps=40, left_s=1.0, agents=()))
    await asyncio.wait_for(later.wait(), PATIENCE_S)
    assert timer.begun_s is None


def extent(count: int = 2, **changes: float) -> Extent:
    found = scenarios("s", max(0, count - 2))[:count]
    whole = Extent(scenarios=found, rounds=2, seed="s", model="demo-transformer", width_px=128, height_px=128)
    return replace(whole, **changes)


async def test_every_way_runs_once_a_round_on_a_fleet_that_has_not_seen_the_load(tmp_path: Path) -> None:
    path, yard = tmp_path / "replan.json", Yard()
    results = ReplanResults(path, machine=MACHINE, settings={"seed": "s"})
    await run_study(extent(1), JOB, yard.open, results, lambda _: None)
    assert len(yard.fleets) == 3  # one to measure under the load, one a round
    for fleet in yard.fleets[1:]:
        probe, replanned, reference, *others = fleet.requests
        assert (probe.steps or 0) < JOB.steps
        assert replanned.plan is not None
        assert shares(replanned.plan) == shares(first_plan())  # links decide how long its beats are
        assert len(reference.plan.agents if reference.plan else ()) == 1
        assert len(others) == 3
        assert fleet.load_running == [True, False, *[True, False] * 4]
    document = read_document(path, TITLE)
    (row,) = results.rows
    assert row.replanned == row.rounds == 2
    assert row.to_oracle > 1.0  # the fake goes on by its first plan
    assert row.reaction_steps == pytest.approx(20 - 40 / 3)
    assert {way["way"] for way in document["ways"]} == set(Way)
    assert "re-plan / faster oracle, worst of 1 named loads" in page(document)


async def test_what_was_run_is_kept_and_what_is_left_out_is_named(tmp_path: Path) -> None:
    path = tmp_path / "replan.json"
    results = ReplanResults(path, machine=MACHINE, settings={"seed": "s"})
    await run_study(extent(1), JOB, Yard().open, results, lambda _: None)
    resumed = ReplanResults(path, machine=MACHINE, settings={"seed": "s"}, resume=True)
    yard = Yard()
    await run_study(extent(2, time_limit_s=1.0), JOB, yard.open, resumed, lambda _: None)
    assert yard.fleets == []
    document = json.loads(path.read_text())
    assert len(document["rows"]) == 1
    assert list(document["not_run"]) == [scenarios("s", 0)[1].name]
    assert "* not run: " in page(document)
    with pytest.raises(OtherSettingsError, match="was made with"):
        ReplanResults(path, machine=MACHINE, settings={"seed": "t"}, resume=True)


def a_round(seconds: dict[Way, float], levels: dict[Way, int], *, reacted: bool = True) -> Round:
    reference_HW3 = np.zeros((8, 8, 3), dtype=np.uint8)
    reaction = Reaction(after_s=0.5, begin_step=20, reason="speed_changed", agents=())
    return Round(
        reference_HW3=reference_HW3,
        runs=tuple(
            Run(
                way=way,
                round_index=0,
                denoise_s=seconds[way],
                after_s=1.0,
                plans=("0-40: 16",),
                reactions=(reaction,) if way is Way.REPLAN and reacted else (),
                core_share=0.5,
                pixels_HW3=reference_HW3 + np.uint8(levels[way]),
            )
            for way in Way
        ),
    )


def test_the_faster_oracle_and_the_worst_load_decide() -> None:
    seconds = {Way.NO_REPLAN: 2.0, Way.REPLAN: 1.1, Way.AT_ONCE: 1.05, Way.FROM_START: 1.0}
    levels = {Way.NO_REPLAN: 1, Way.REPLAN: 2, Way.AT_ONCE: 1, Way.FROM_START: 1}
    row = scenario_row(LATE, [a_round(seconds, levels), a_round(seconds, levels, reacted=False)], steps=40)
    assert (row.oracle, row.to_oracle) == (Way.FROM_START, pytest.approx(1.1))
    assert row.to_no_replan == pytest.approx(0.55)
    assert row.psnr_gain_db == pytest.approx(-6.02, abs=0.01)
    assert (row.replanned, row.rounds, row.reaction_s) == (1, 2, 0.5)
    slower = replace(row, scenario="drawn", drawn=True, to_oracle=1.2, psnr_gain_db=0.0)
    named_time, named_psnr, all_time, all_psnr = judge([row, slower])
    assert named_time.met
    assert not all_time.met
    assert not named_psnr.met
    assert not all_psnr.met
    assert "1.200 at drawn" in all_time.measured
    assert way_rows(LATE, [a_round(seconds, levels)])[0].psnr_db == pytest.approx(48.13, abs=0.01)
