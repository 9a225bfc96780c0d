"""Parts of the benchmark of predictions: which plans are measured, from where they go on, and what comes of it."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from quality_prediction import held_out, resumed
from quality_study.cases import DISPLACED, RANDOM, drawn_cases, random_plan
from quality_study.scores import Scored, by_devices, table

from polyrhythm.job.image import Quality
from polyrhythm.plan.plan import Exchange
from polyrhythm_agent.calibration.prompts import PROMPTS
from tests.values.calibrations import calibration
from tests.values.plan_requests import FACTS, image
from tests.values.plans import plan, segment

STEPS = 12


def test_every_quality_is_held_against_plain_displaced_parallelism_on_as_many_devices() -> None:
    facts = replace(FACTS, calibrations=(calibration(steps=STEPS, width=2),))
    picture = image(quality=Quality.EXACT, steps=STEPS)
    cases = drawn_cases(facts, picture, seed="a", fleets=2, randoms=3, devices=4)
    assert [sum(case.kind == kind for case in cases) for kind in ("balanced", "fast", DISPLACED, RANDOM)] == [
        8,
        8,
        4,
        3,
    ]
    for case in cases:
        assert case.expected is not None
        assert case.plan.steps == STEPS
        if case.reference is not None:
            assert case.kind in {"balanced", "fast"}
            assert len(case.reference.agents) == max(2, case.devices) == max(2, len(case.speeds))
            assert {stride for s in case.reference.segments for stride in s.strides} == {1}
    assert cases == drawn_cases(facts, picture, seed="a", fleets=2, randoms=3, devices=4)
    assert cases != drawn_cases(facts, picture, seed="b", fleets=2, randoms=3, devices=4)
    unknown = drawn_cases(FACTS, picture, seed="a", fleets=1, randoms=1, devices=2)
    assert all(case.expected is None for case in unknown)


def test_no_held_out_picture_is_one_of_a_calibration() -> None:
    pictures = [held_out(index, "some commit") for index in range(64)]
    assert len(set(pictures)) == 64
    assert not {text for text, _ in pictures} & set(PROMPTS)
    assert pictures != [held_out(index, "another") for index in range(64)]


def test_a_plan_goes_on_from_the_step_before_it_leaves_the_single_device() -> None:
    gang = plan(segment(0, 4, (8, 8)), segment(4, 12, (8, 8), exchange=Exchange.DISPLACED))
    found = resumed(gang)
    assert (found.begin_step, found.segments[0].exchange, found.segments[0].step_count) == (3, Exchange.SYNCHRONOUS, 1)
    assert found.segments[1:] == gang.segments[1:]
    merged = plan(
        segment(0, 6, (16,), exchange=Exchange.DISPLACED, beat_steps=1),
        segment(6, 12, (16,), exchange=Exchange.DISPLACED, strides=(2,)),
    )
    assert resumed(merged).begin_step == 5
    early = plan(segment(0, 12, (16,), exchange=Exchange.DISPLACED, strides=(2,)))
    assert resumed(early) == early
    for seed in range(20):
        drawn = random_plan(random.Random(seed), STEPS, 16)
        assert resumed(drawn).steps == STEPS


def scored(**changed: object) -> Scored:
    measured = np.linspace(30.0, 40.0, 11)
    values = {
        "steps": 20,
        "kind": "balanced",
        "devices": 2,
        "predicted_db": 36.0,
        "predicted_low_db": 33.0,
        "measured_db_P": measured,
        "reference_db_P": measured + 2.5,
        "loss_db": 1.0,
    }
    return Scored(**{**values, **changed})


def test_errors_and_overruns_are_of_means_and_of_tenth_percentiles() -> None:
    one = scored(reference_db_P=np.linspace(35.0, 40.0, 11))
    assert one.error_db == pytest.approx(1.0)
    assert one.low_error_db == pytest.approx(2.0)
    assert one.overrun_db == pytest.approx(1.5)
    assert one.low_overrun_db == pytest.approx(3.5)
    assert scored(measured_db_P=np.full(3, 100.0)).error_db is None
    assert scored(measured_db_P=np.full(3, 100.0), reference_db_P=np.full(3, 40.0)).overrun_db is None
    assert scored(predicted_db=None).error_db is None
    assert scored(reference_db_P=None).overrun_db is None


def test_rows_of_the_table_are_by_kind_and_length() -> None:
    found = table([scored(), scored(steps=8, predicted_db=34.0), scored(kind="fast", predicted_db=35.0)])
    assert [(row["kind"], row["steps"], row["cases"]) for row in found] == [
        ("balanced", 8, 1),
        ("balanced", 20, 1),
        ("balanced", "all", 2),
        ("fast", 20, 1),
        ("fast", "all", 1),
    ]
    every = found[2]
    assert (every["mean_error_db"], every["mean_absolute_error_db"], every["overrun_max_db"]) == (0.0, 1.0, 1.5)
    assert [row["devices"] for row in by_devices([scored(), scored(devices=3)])] == [2, 3]
