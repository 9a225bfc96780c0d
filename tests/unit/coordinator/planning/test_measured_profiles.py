"""Profiles follow the measured speed, slowly, and plans see it only when it matters; forecasts spread a prediction."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyrhythm.ids import AgentId
from polyrhythm.plan.explanation import Prediction
from polyrhythm.plan.plan import Exchange
from polyrhythm.plan.profile import Profile, Workload
from polyrhythm_coordinator.scheduling.epochs.deadlines import step_timeout_s
from polyrhythm_coordinator.scheduling.planning.forecast import forecast
from polyrhythm_coordinator.scheduling.planning.measured_profiles import measured_alone, profile_key
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from tests.fakes.model import FACTS
from tests.fakes.worker import register
from tests.values.plans import agent_ids, plan, segment

WORKLOAD = Workload(model="fake", width_px=64, height_px=64, batch=2)


def profile(agent: str, *, per_row_s: float, fixed_s: float = 0.0) -> Profile:
    return Profile(
        agent=AgentId(agent),
        workload=WORKLOAD,
        fixed_s=fixed_s,
        per_row_s=per_row_s,
        encode_s=0.1,
        decode_s=0.2,
        samples=3,
    )


def test_an_agent_that_holds_its_weights_another_way_is_measured_anew() -> None:
    introduced = register(AgentId("a"))
    keys = {
        profile_key(introduced.device, introduced.software, replace(FACTS, offloaded=offloaded), WORKLOAD)
        for offloaded in (False, True, False)
    }
    assert len(keys) == 2


def test_small_deviations_change_no_plan() -> None:
    known = measured_alone(profile("a", per_row_s=0.01))
    for _ in range(100):
        known = known.refined(rows=4, active_steps=2, own_s=2 * 4 * 0.01 * 1.04, alone=True)
    assert known.alone.scale == 1.0
    assert known.alone.average == pytest.approx(1.04, abs=0.001)
    assert known.for_agent(AgentId("a")) == known.measured


def test_a_lasting_deviation_is_followed() -> None:
    known = measured_alone(profile("a", per_row_s=0.01, fixed_s=0.02))
    for _ in range(100):
        known = known.refined(rows=4, active_steps=1, own_s=0.06 * 2, alone=True)
    seen = known.for_agent(AgentId("renamed"))
    assert seen.agent == "renamed"
    assert seen.forward_s(4) == pytest.approx(0.12, rel=0.06)
    assert seen.encode_s == 0.1


def test_the_first_beats_weigh_most() -> None:
    known = measured_alone(profile("a", per_row_s=0.01))
    averages: list[float] = []
    for _ in range(4):
        known = known.refined(rows=4, active_steps=1, own_s=0.04 * 1.6, alone=True)
        averages.append(known.alone.average)
    assert averages == pytest.approx([1.2, 1.3, 1.36, 1.4])


@pytest.mark.parametrize(("rows", "active_steps", "own_s"), [(0, 0, 0.0), (4, 1, 4.0), (4, 1, 0.0)])
def test_beats_that_say_nothing_are_left_out(rows: int, active_steps: int, own_s: float) -> None:
    known = measured_alone(profile("a", per_row_s=0.01))
    assert known.refined(rows=rows, active_steps=active_steps, own_s=own_s, alone=True) is known


def test_a_forecast_spreads_the_prediction_over_the_beats() -> None:
    # Four synchronous steps of 40 ms, then eight at strides 1 and 2: 40 ms a step for the first, 80 ms for two.
    course = forecast(
        plan(
            segment(0, 4, (4, 4), beat_steps=4),
            segment(4, 12, (4, 4), exchange=Exchange.DISPLACED, strides=(1, 2), beat_steps=4),
        ),
        Prediction(encode_s=0.1, denoise_s=0.48 * 1.25, decode_s=0.2, agents=()),
        dict(zip(agent_ids(2), (profile("agent-0", per_row_s=0.01), profile("agent-1", per_row_s=0.01)), strict=True)),
    )
    assert course.left_s(0) == pytest.approx(0.8)
    assert course.left_s(4) == pytest.approx(0.6)
    assert course.left_s(6) == pytest.approx(0.5)
    assert course.left_s(12) == pytest.approx(0.2)
    assert course.beat_s == pytest.approx(0.16 * 1.25)
    # The second member is silent for its step of 40 ms and for the rest of the beat, 80 ms.
    assert course.step_s == pytest.approx(0.12 * 1.25)
    assert course.uninterruptible_s == 0.2
    assert step_timeout_s(Limits(), course, previews=False) == pytest.approx(3.6)
    assert step_timeout_s(Limits(), course, previews=True) == pytest.approx(4.4)
