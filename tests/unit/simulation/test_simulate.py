"""Simulated jobs from the request to the end: the core's decisions and the virtual clock together."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import pairwise
from math import exp

import pytest

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.ids import AgentId
from polyrhythm.job.image import ImageRequest, Objective, Quality
from polyrhythm_coordinator.scheduling.state.timeouts import Limits
from polyrhythm_coordinator.simulation.engine.timeline import Activity, Occasion
from polyrhythm_coordinator.simulation.fleet_files.description import ControlCosts, FleetDescription
from polyrhythm_coordinator.simulation.fleet_files.fleet_file import read_fleet
from polyrhythm_coordinator.simulation.fleet_files.speed_course import SpeedCourse
from polyrhythm_coordinator.simulation.report.outcome import Outcome, as_json, fastest_alone, simulate
from tests.worlds.simulated_fleets import BESIDE_OTHERS, EXAMPLE, device, fleet

SOLO_STEP_S = 0.002 + 8 * 0.01
STEPS = 12


def made(
    described: FleetDescription,
    *,
    count: int = 1,
    quality: Quality = Quality.BALANCED,
    objective: Objective = Objective.LATENCY,
) -> Outcome:
    request = ImageRequest(prompt="simulated", count=count, quality=quality, objective=objective)
    outcome = simulate(described, request)
    assert_sound(outcome)
    return outcome


def assert_sound(outcome: Outcome) -> None:
    """What holds for every timeline."""
    for one in outcome.devices:
        own = [span for span in outcome.spans if span.agent == one.agent]
        assert all(0 <= span.begin_s < span.end_s <= outcome.total_s + 1e-9 for span in own)
        assert all(before.end_s <= after.begin_s + 1e-9 for before, after in pairwise(own)), "two things at once"
        assert 0 <= one.utilisation <= 1
    assert bool(outcome.error) or len(outcome.reports) == outcome.count


def test_one_device_takes_the_closed_form() -> None:
    outcome = made(fleet(device("a", overhead_s=0.003)))
    assert outcome.reports[0].denoise_s == pytest.approx(STEPS * (SOLO_STEP_S + 0.003))
    # Tokens asked and told, the size measured, the plan searched, the epoch started, the picture told: six messages.
    assert outcome.total_s == pytest.approx(0.01 + STEPS * (SOLO_STEP_S + 0.003) + 0.02 + 0.005 + 6 * 0.001)
    assert outcome.devices[0].compute_s == pytest.approx(STEPS * (SOLO_STEP_S + 0.003))


def test_two_devices_are_faster_than_one_and_near_the_prediction() -> None:
    outcome = made(fleet(device("a"), device("b", speed=0.5)))
    report = outcome.reports[0]
    assert report.denoise_s < STEPS * SOLO_STEP_S
    assert report.denoise_s == pytest.approx(report.predicted_denoise_s, rel=0.02)
    assert outcome.replans == ()


def test_devices_of_one_host_slow_each_other_down_and_those_of_two_do_not() -> None:
    def pair(other: str) -> FleetDescription:
        return fleet(device("a", host="box"), device("b", speed=0.8, host=other))

    shared, apart = made(pair("box")), made(pair("shed"))
    for outcome in (shared, apart):
        (report,) = outcome.reports
        assert len(report.agents) == 2
        assert report.denoise_s == pytest.approx(report.predicted_denoise_s, rel=0.02)
    assert shared.reports[0].denoise_s > 1.1 * apart.reports[0].denoise_s
    alone = fastest_alone(pair("box"), ImageRequest(prompt="simulated"))
    assert alone is not None
    assert alone.total_s == pytest.approx(0.01 + STEPS * SOLO_STEP_S / BESIDE_OTHERS + 0.02 + 0.005 + 6 * 0.001)


@pytest.mark.parametrize(("other", "ratio"), [("box", 1.0), ("shed", 1 / BESIDE_OTHERS)])
def test_devices_of_one_host_slow_each_other_down_while_each_makes_a_picture(other: str, ratio: float) -> None:
    outcome = made(fleet(device("a", host="box"), device("b", host=other)), count=2, objective=Objective.THROUGHPUT)
    assert {usage.agent for report in outcome.reports for usage in report.agents} == {"a", "b"}
    for report in outcome.reports:
        assert report.denoise_s == pytest.approx(STEPS * SOLO_STEP_S * ratio, rel=0.06)


def test_the_same_description_gives_the_same_timeline() -> None:
    described = fleet(device("a"), device("b", speed=0.5, load=((0.3, 0.5),), dies_at_s=0.6), device("c", speed=0.7))
    assert as_json(made(described)) == as_json(made(described))


def test_a_death_costs_the_steps_since_the_last_boundary() -> None:
    outcome = made(fleet(device("a"), device("b", dies_at_s=0.4)), quality=Quality.HIGH)
    (replan,) = outcome.replans
    assert (replan.reason, replan.agents) == ("agent_lost", (AgentId("a"),))
    # Noticed when the connection closes: a message, the end of a layer, a message, a plan and its way down.
    assert 0.4 < replan.at_s < 0.4 + SOLO_STEP_S + 0.02
    assert [span for span in outcome.spans if span.agent == "b" and span.end_s > 0.4] == []
    last = outcome.reports[0].plans[-1]
    assert (last.begin_step, last.agents) == (replan.begin_step, (AgentId("a"),))
    assert replan.begin_step in {4, 6, 8}


def test_a_silent_death_is_missed_after_the_patience_with_heartbeats() -> None:
    outcome = made(fleet(device("a"), device("b", dies_at_s=0.4, dies_silently=True)), quality=Quality.HIGH)
    (loss,) = [mark for mark in outcome.marks if mark.occasion is Occasion.LOSS and "no sign of life" in mark.text]
    patience_s = Limits().heartbeat_timeout_s
    assert 0.4 + patience_s - 0.3 < loss.at_s < 0.4 + patience_s + Limits().tick_interval_s
    waits = [span for span in outcome.spans if span.agent == "a" and span.activity is Activity.WAIT]
    assert max(span.end_s - span.begin_s for span in waits) > 0.5
    assert len(outcome.reports) == 1


def test_nobody_left_is_a_failure_with_an_account() -> None:
    outcome = made(fleet(device("a", dies_at_s=0.3)))
    assert "no agent is left" in outcome.error
    assert outcome.reports == ()
    assert as_json(outcome)["error"] == outcome.error


def test_load_slows_the_device_from_its_moment_on() -> None:
    calm = made(fleet(device("a")))
    loaded = made(fleet(device("a", load=((0.5, 0.5),))))
    # What is left of the job at that moment takes twice as long.
    assert loaded.total_s - 0.5 == pytest.approx(2 * (calm.total_s - 0.5), abs=2e-3)


def test_whoever_joins_while_a_picture_is_made_makes_the_one_that_waits() -> None:
    outcome = made(fleet(device("a"), device("b", joins_at_s=0.3)), count=2)
    first, second = outcome.reports
    assert first.plans[0].agents == (AgentId("a"),)
    assert second.plans[-1].agents == (AgentId("b"),)
    assert any(mark.occasion is Occasion.JOIN for mark in outcome.marks)


def test_whoever_is_drained_begins_no_further_picture() -> None:
    outcome = made(fleet(device("a"), device("b", speed=0.5, drained_at_s=0.1)), count=2)
    first, second = outcome.reports
    assert first.plans[0].agents == (AgentId("a"), AgentId("b"))
    assert [plan.agents for plan in second.plans] == [(AgentId("a"),)]
    assert any(mark.occasion is Occasion.DRAIN for mark in outcome.marks)


def test_a_job_that_waits_for_drained_devices_ends_the_simulation() -> None:
    described = fleet(device("a", drained_at_s=0.1), device("b", drained_at_s=0.1))
    outcome = simulate(described, ImageRequest(prompt="simulated", quality=Quality.EXACT, count=3))
    assert len(outcome.reports) in {1, 2}  # what had begun is made
    assert "nobody is left" in outcome.error
    assert "a, b" in outcome.error


def test_so_does_one_that_is_told_it_waits_while_an_earlier_picture_is_made() -> None:
    described = fleet(device("a", speed=0.3, drained_at_s=1.702), device("b", speed=0.825, drained_at_s=0.056))
    outcome = simulate(described, ImageRequest(prompt="simulated", quality=Quality.HIGH, count=2))
    assert len(outcome.reports) == 1
    assert "nobody is left to go on: all that could make it are drained: a, b" in outcome.error


def test_the_second_picture_of_a_gang_forms_no_gang() -> None:
    described = fleet(device("a"), device("b", speed=0.5), control=ControlCosts(form_gang_s=0.5))
    outcome = made(described, count=2)
    done = [mark.at_s for mark in outcome.marks if mark.occasion is Occasion.PICTURE]
    assert done[0] - (done[1] - done[0]) > 0.45
    # The condition of the job is there, too.
    assert outcome.reports[1].encode_s == 0


def test_bytes_are_those_of_the_plan() -> None:
    outcome = made(fleet(device("a"), device("b", speed=0.4)))
    predicted = {share.agent: share.sent_bytes for share in outcome.explanations[0].chosen.prediction.agents}
    assert {device.agent: device.sent_bytes for device in outcome.devices} == predicted


def test_another_size_is_scaled_and_said_so() -> None:
    described = fleet(device("a"))
    outcome = simulate(described, ImageRequest(prompt="simulated", width_px=128, height_px=64, guidance=1.0))
    # Twice the tokens of a row, half the batch.
    assert outcome.reports[0].denoise_s == pytest.approx(STEPS * SOLO_STEP_S)
    assert "scaled" in outcome.notices[0]


def test_a_picture_that_the_model_cannot_make_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"image\.width_px"):
        simulate(fleet(device("a")), ImageRequest(prompt="simulated", width_px=100))


def test_the_example_tells_its_story() -> None:
    outcome = simulate(read_fleet(EXAMPLE), ImageRequest(prompt="simulated"))
    assert_sound(outcome)
    occasions = [mark.occasion for mark in outcome.marks]
    assert occasions.index(Occasion.LOAD) < occasions.index(Occasion.DEATH) < occasions.index(Occasion.PICTURE)
    assert [exclusion.agent for exclusion in outcome.exclusions] == ["tiny"]
    json.dumps(as_json(outcome))


def test_the_fastest_device_alone_is_told_beside_the_fleet() -> None:
    described = fleet(device("a"), device("b", speed=2.0), device("c", speed=3.0, dies_at_s=0.1))
    alone = fastest_alone(described, ImageRequest(prompt="simulated"))
    assert alone is not None
    assert alone.agent == "b", "the fastest that is there to the end"
    outcome = made(described)
    told = as_json(outcome, alone)["alone"]
    assert told["to_fleet"] == pytest.approx(alone.total_s / outcome.total_s)
    assert made(replace(described, devices=(described.devices[1],))).total_s == alone.total_s


def noisy(generator: random.Random, period_s: float) -> SpeedCourse:
    """A speed that is drawn anew again and again, a third more or less than its mean for one standard deviation."""
    changes, at_s = [], 0.0
    while at_s < 20.0:
        changes.append((at_s, min(3.0, max(0.3, exp(generator.gauss(0.0, 0.3))))))
        at_s += period_s * (0.5 + generator.random())
    return SpeedCourse(changes=tuple(changes))


def test_a_noisy_fleet_does_not_get_plan_after_plan_and_loses_nothing_by_it() -> None:
    replans, seconds, unchanged_s = [], 0.0, 0.0
    for seed in range(6):
        generator = random.Random(seed)
        devices = (
            replace(held, course=noisy(generator, 1.0)) for held in (device("a", speed=0.25), device("b", speed=0.15))
        )
        described = fleet(*devices)
        request = ImageRequest(prompt="simulated", steps=60, quality=Quality.HIGH)
        outcome = simulate(described, request)
        as_planned = simulate(described, replace(request, plan=outcome.explanations[0].chosen.plan))
        replans.append(len(outcome.replans))
        seconds += outcome.reports[0].denoise_s
        unchanged_s += as_planned.reports[0].denoise_s
    assert max(replans) <= 4, replans
    assert seconds <= unchanged_s
