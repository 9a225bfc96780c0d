"""A synchronous step takes as long as the latest member at every exchange."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from statistics import fmean

import pytest

from polyrhythm.plan.plan import Exchange
from polyrhythm_coordinator.scheduling.planning.cost_model import GangCost
from polyrhythm_coordinator.scheduling.planning.unevenness import later_s
from tests.values.plan_requests import plan_request


@pytest.mark.parametrize(
    ("means_s", "deviations_s"),
    [
        ([1.0, 1.0], [0.1, 0.1]),
        ([1.0, 0.9], [0.1, 0.3]),
        ([1.0, 1.0, 1.0, 1.0], [0.2, 0.2, 0.2, 0.2]),
        ([1.0, 0.5], [0.05, 0.05]),
        ([1.0, 0.95, 0.8], [0.0, 0.1, 0.4]),
    ],
)
def test_it_is_what_drawn_times_show(means_s: list[float], deviations_s: list[float]) -> None:
    random = Random(1)
    drawn_s = fmean(max(map(random.gauss, means_s, deviations_s)) for _ in range(20_000)) - max(means_s)
    assert later_s(means_s, deviations_s) == pytest.approx(drawn_s, abs=0.015)


def test_even_members_lose_nothing() -> None:
    assert later_s([1.0, 1.0, 0.2], [0.0, 0.0, 0.0]) == 0.0


def test_synchronous_steps_of_uneven_members_take_longer_and_displaced_ones_do_not() -> None:
    even = plan_request((1.0, 1.0))
    uneven = replace(even, profiles=tuple(replace(profile, jitter=0.2) for profile in even.profiles))
    rows = [even.row_count // 2, even.row_count - even.row_count // 2]
    costs = [GangCost(request=request, agents=request.agents) for request in (even, uneven)]
    synchronous = [cost.step_s(rows, (1, 1), Exchange.SYNCHRONOUS) for cost in costs]
    displaced = [cost.step_s(rows, (1, 1), Exchange.DISPLACED) for cost in costs]
    assert displaced[1] == displaced[0]
    assert synchronous[1] / synchronous[0] == pytest.approx(1 + 0.2 * 0.564, rel=0.02)
