"""What is told of a device that a plan leaves out: every number supports what it is told for.

Each kind of note is taken apart: the number that keeps the device out is the larger one, parts add up to the whole, and
both are what the cost model says.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyrhythm.errors import NoAgentsError
from polyrhythm.job.image import Objective, Quality
from polyrhythm.plan.explanation import Explanation
from polyrhythm.plan.profile import Link
from polyrhythm_coordinator.scheduling.planning.explanation import INDIFFERENCE
from polyrhythm_coordinator.scheduling.planning.plan_request import PlanRequest
from polyrhythm_coordinator.scheduling.planning.search import search_plan
from polyrhythm_coordinator.scheduling.planning.strides import EXHAUSTIVE_AGENTS_MAX
from tests.values.calibrations import calibration
from tests.values.plan_requests import FACTS, MEMORY, plan_request

NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]\d+)?)"
STEP = re.compile(
    rf"no gang gives it rows: with one row on it a step takes {NUMBER} s \((.+)\), a step of the chosen plan {NUMBER} s"
)
PART = re.compile(rf"(?:computing|messages|waiting) {NUMBER} s")
GANG = re.compile(rf"the fastest gang with it takes {NUMBER} s, the chosen plan without it {NUMBER} s")
ALONE = re.compile(rf"alone it takes {NUMBER} s, the chosen plan {NUMBER} s")
SAME = re.compile(
    rf"it would not make the picture sooner ready: {NUMBER} s (with it or without it|by the chosen device as by it)"
)
MANY = re.compile(
    rf"of (\d+) devices the fastest of each number are compared: the whole picture takes it {NUMBER} s a step, "
    rf"the last of the chosen ones, (\S+), {NUMBER} s"
)
ROOM = re.compile(rf"in a gang with it, \S+ needs {NUMBER} MiB for \d+ rows, free to it are {NUMBER} MiB")
MISFIT = re.compile(
    rf"\S+ does not fit: the smallest share of this picture needs {NUMBER} MiB .*, free to it are {NUMBER} MiB.*"
)


def powers(least: float, most: float) -> st.SearchStrategy[float]:
    """Floats whose logarithms are even."""
    return st.floats(least, most).map(lambda power: 10.0**power)


links = st.builds(
    Link,
    latency_s=powers(-5, -1),
    bytes_per_s=powers(6, 10),
    handling_s=st.just(0.0) | powers(-5, -2),
    handling_s_per_byte=st.just(0.0) | powers(-10, -7),
)


@st.composite
def fleets(draw: st.DrawFn, *, agents_min: int = 2, agents_max: int = 5) -> PlanRequest:
    """Devices of any speeds and memories with any links, some on one host, and a picture of any length."""
    count = draw(st.integers(agents_min, agents_max))
    steps = draw(st.sampled_from([2, 5, 12, 20]))
    calibrated = (calibration(steps=max(9, steps), scale=draw(powers(-1, 1))),) if draw(st.booleans()) else ()
    request = plan_request(
        draw(st.lists(powers(-2, 0), min_size=count, max_size=count)),
        quality=draw(st.sampled_from(Quality)),
        steps=steps,
        rows=draw(st.sampled_from([1, 2, 4, 16, 64])),
        whole_s=draw(powers(-3, 1)),
        fixed_shares=draw(st.lists(st.floats(0, 0.8), min_size=count, max_size=count)),
        facts=replace(FACTS, calibrations=calibrated, memory=draw(st.sampled_from([None, MEMORY]))),
    )
    pairs, link = tuple(permutations(request.agents, 2)), draw(links)
    jitters = draw(st.lists(st.sampled_from([0.0, 0.1, 1.0]), min_size=count, max_size=count))
    hosts = draw(st.lists(st.sampled_from(["one", "other"]), min_size=count, max_size=count))
    sizes = draw(st.lists(st.none() | powers(5, 8), min_size=count, max_size=count))
    return replace(
        request,
        image=replace(request.image, objective=draw(st.sampled_from(Objective))),
        links={pair: draw(links) for pair in pairs} if draw(st.booleans()) else dict.fromkeys(pairs, link),
        profiles=tuple(
            replace(one, jitter=jitter, host=host, alone=replace(one.together, per_row_s=one.per_row_s * 0.6))
            for one, jitter, host in zip(request.profiles, jitters, hosts, strict=True)
        ),
        usable_bytes={name: int(size) for name, size in zip(request.agents, sizes, strict=True) if size},
    )


def check(note: str, explanation: Explanation) -> None:
    """Takes a note apart, whatever its kind."""
    chosen = explanation.chosen
    if found := STEP.fullmatch(note):
        with_it, parts, without = found.groups()
        assert float(with_it) > float(without), note
        steps = chosen.plan.steps - chosen.plan.begin_step
        assert float(without) == pytest.approx(chosen.prediction.denoise_s / steps, rel=INDIFFERENCE, abs=1e-3)
        seconds = [PART.fullmatch(part) for part in parts.split(", ")]
        assert all(seconds), note
        digits = len(with_it.partition(".")[2])
        assert sum(float(part[1]) for part in seconds if part) == pytest.approx(float(with_it), abs=2 * 10**-digits)
    elif found := GANG.fullmatch(note) or ALONE.fullmatch(note):
        with_it, without = map(float, found.groups())
        assert with_it > without, note
        assert without == pytest.approx(chosen.prediction.total_s, rel=INDIFFERENCE, abs=1e-3)
    elif found := SAME.fullmatch(note):
        assert float(found[1]) == pytest.approx(chosen.prediction.total_s, rel=INDIFFERENCE)
    elif found := MANY.fullmatch(note):
        assert int(found[1]) > EXHAUSTIVE_AGENTS_MAX
        assert found[3] in chosen.plan.agents
        assert float(found[2]) >= float(found[4]), note
    else:
        found = ROOM.fullmatch(note) or MISFIT.fullmatch(note)
        assert found is not None, note
        assert float(found[1]) > float(found[2]), note


@settings(max_examples=250, derandomize=True)
@given(fleets())
def test_every_number_in_a_note_supports_it(request: PlanRequest) -> None:
    try:
        explanation = search_plan(request)
    except NoAgentsError:
        return
    assert {exclusion.agent for exclusion in explanation.exclusions} == set(request.agents) - set(
        explanation.chosen.plan.agents
    )
    for exclusion in explanation.exclusions:
        check(exclusion.message, explanation)


@settings(max_examples=40, derandomize=True)
@given(fleets(agents_min=7, agents_max=12))
def test_every_number_in_a_note_about_one_of_many_supports_it(request: PlanRequest) -> None:
    try:
        explanation = search_plan(request)
    except NoAgentsError:
        return
    for exclusion in explanation.exclusions:
        check(exclusion.message, explanation)


def test_messages_that_cost_more_than_a_row_saves_are_named_with_what_they_cost() -> None:
    link = Link(latency_s=0.05, bytes_per_s=1e6)
    request = plan_request([1.0, 0.763], rows=64, steps=12, link=link, quality=Quality.FAST)
    explanation = search_plan(request)
    assert explanation.chosen.plan.agents == ("gpu-0",)
    (exclusion,) = explanation.exclusions
    assert request.profile(exclusion.agent).forward_s(1) < 0.03  # so its own speed is no reason
    assert exclusion.message == (
        "no gang gives it rows: with one row on it a step takes 33.145 s (computing 0.984 s, messages 32.160 s), "
        "a step of the chosen plan 1.000 s"
    )
    check(exclusion.message, explanation)


def test_where_single_devices_are_compared_a_note_has_the_times_of_two() -> None:
    request = plan_request([1.0, 0.5], steps=10)
    explanation = search_plan(replace(request, image=replace(request.image, objective=Objective.THROUGHPUT)))
    (exclusion,) = explanation.exclusions
    assert exclusion.message == "alone it takes 20.000 s, the chosen plan 10.000 s"


def test_times_that_differ_by_little_are_told_with_digits_enough() -> None:
    request = plan_request([1.0, 0.98], steps=10, whole_s=1e-5)
    explanation = search_plan(replace(request, image=replace(request.image, objective=Objective.THROUGHPUT)))
    (exclusion,) = explanation.exclusions
    assert exclusion.message == "alone it takes 0.000102 s, the chosen plan 0.000100 s"
