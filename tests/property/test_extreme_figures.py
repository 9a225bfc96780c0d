"""Whatever an agent may report, the core computes with it: numbers come out, or a refusal with a type."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrhythm.codec.bounds import MEMBERS_MAX
from polyrhythm.codec.explanation import EXPLANATION
from polyrhythm.codec.job import JOB_EVENT
from polyrhythm.errors import InternalError, NoAgentsError
from polyrhythm.job.image import STEPS_MAX, ImageRequest, Objective, Quality
from polyrhythm.model.calibration import Calibration
from polyrhythm.plan.plan import Exchange
from polyrhythm.plan.rows import RowRange
from polyrhythm.session.events import AgentEvent
from polyrhythm_coordinator.scheduling.planning.distortion import Distortion
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.search import search_plan
from polyrhythm_coordinator.scheduling.state.effects import Effect
from tests.property import extreme_figures as extreme
from tests.values.plans import plan, segment
from tests.worlds.fleet_world import World

STEPS = 12


@settings(max_examples=100, derandomize=True)
@given(st.data(), st.lists(st.sampled_from([1, 2]), min_size=2, max_size=4), st.integers(0, 2))
def test_any_calibration_within_bounds_predicts_numbers(
    data: st.DataObject, strides: list[int], further_steps: int
) -> None:
    measured: list[Calibration] = [data.draw(extreme.calibrations(steps=STEPS))]
    if further_steps:
        measured.append(data.draw(extreme.calibrations(steps=STEPS + further_steps)))
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = Distortion.of(*measured, steps=STEPS + further_steps // 2, row_count=4 * len(strides))
        rows = (4,) * len(strides)
        body = segment(4, STEPS, rows, exchange=Exchange.DISPLACED, strides=tuple(strides), beat_steps=4)
        rest = [segment(STEPS, found.steps, rows)] if found.steps > STEPS else []
        expected = found.plan_expected(plan(segment(0, 4, rows), body, *rest))
    assert np.isfinite([expected.mean_db, expected.low_db]).all()


@settings(max_examples=100, derandomize=True)
@given(extreme.requests())
def test_any_figures_within_bounds_give_a_plan_that_can_be_told_or_a_refusal(request: PlanRequest) -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        try:
            explanation = search_plan(request)
        except NoAgentsError:
            return
    assert EXPLANATION.from_proto(EXPLANATION.to_proto(explanation)) == explanation
    for candidate in (explanation.chosen, *explanation.runners_up):
        assert all(share.sent_bytes >= 0 and share.memory_bytes >= 0 for share in candidate.prediction.agents)


@settings(max_examples=200, derandomize=True)
@given(extreme.alone())
def test_what_a_member_sends_in_the_longest_picture_is_counted_in_64_bits(request: PlanRequest) -> None:
    """Whatever its rows: all of them to everybody in every step, and latents at as many boundaries."""
    everything, nobody = RowRange(begin=0, end=request.row_count), RowRange(begin=0, end=0)
    step_bytes = request.version_bytes(everything, nobody) + request.rims_bytes + request.boundary_bytes(everything)
    assert step_bytes * (MEMBERS_MAX - 1) * STEPS_MAX < 2**63


class ExtremeWorld(World):
    """Agents that report any figures that a decoder takes."""

    def __init__(self, draw: Callable[[st.SearchStrategy[AgentEvent]], AgentEvent], *agents: str) -> None:
        self._draw = draw
        super().__init__(*agents)

    def say(self, agent: str, event: AgentEvent) -> tuple[Effect, ...]:
        return super().say(agent, self._draw(extreme.reported(event)))


@settings(max_examples=30, derandomize=True)
@given(st.data(), st.sampled_from(Quality), st.sampled_from([None, *Objective]), st.integers(1, 3))
def test_whatever_agents_report_while_they_work_every_job_comes_to_its_end(
    data: st.DataObject, quality: Quality, objective: Objective | None, count: int
) -> None:
    world = ExtremeWorld(data.draw, "a", "b", "c")
    wanted = ImageRequest(prompt="extreme", seed=1, steps=24, quality=quality, objective=objective, count=count)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        jobs = (world.submit(wanted), world.submit(wanted, explain_only=True))
        world.run_until(lambda: all(job in world.ended for job in jobs), limit_s=600.0)
    for job in jobs:
        assert not isinstance(world.ended[job], InternalError)
        for event in world.told[job]:
            assert JOB_EVENT.from_proto(JOB_EVENT.to_proto(event)) == event
