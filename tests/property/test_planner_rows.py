"""The row partition against brute force over all compositions, with cost tables that no model shaped."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyrhythm.job.image import Quality
from polyrhythm.plan.rows import is_partition
from polyrhythm_coordinator.scheduling.planning.plan_builder import GangPlans
from polyrhythm_coordinator.scheduling.planning.quality_policy import policy_of
from polyrhythm_coordinator.scheduling.planning.row_partition import fastest_coupled_rows, fastest_rows
from polyrhythm_coordinator.scheduling.planning.strides import stride_assignments
from tests.values.plan_requests import LOOPBACK, plan_request

speed = st.floats(min_value=1e-3, max_value=1e3)


def compositions(agents: int, rows: int) -> Iterator[tuple[int, ...]]:
    """All ways to share rows out, none for some agents included."""
    for bars in combinations(range(rows + agents - 1), agents - 1):
        edges = (-1, *bars, rows + agents - 1)
        yield tuple(b - a - 1 for a, b in pairwise(edges))


@st.composite
def cost_tables(draw: st.DrawFn) -> np.ndarray:
    """Ascending costs of 1 .. R rows for each of a few agents."""
    agents, rows = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    steps = draw(st.lists(st.lists(st.integers(1, 20), min_size=rows, max_size=rows), min_size=agents, max_size=agents))
    return np.cumsum(np.array(steps, dtype=np.float64), axis=1)


def largest(costs_AR: np.ndarray, counts: tuple[int, ...]) -> float:
    return max(float(costs_AR[agent, count - 1]) for agent, count in enumerate(counts) if count)


def coupled(alone_AR: np.ndarray, exposed_AR: np.ndarray, counts: tuple[int, ...]) -> float:
    exposed = sorted(float(exposed_AR[agent, count - 1]) for agent, count in enumerate(counts) if count)
    if len(exposed) == 1:
        return largest(alone_AR, counts)
    return max(largest(alone_AR, counts), sum(exposed[-2:]) / 2)


@given(cost_tables(), st.data())
def test_rows_are_optimal_for_any_costs_and_any_cap(costs_AR: np.ndarray, data: st.DataObject) -> None:
    agents, rows = costs_AR.shape
    reduced = (False, *data.draw(st.lists(st.booleans(), min_size=agents - 1, max_size=agents - 1)))
    cap = data.draw(st.integers(0, rows))

    def held(counts: tuple[int, ...]) -> int:
        return sum(count for count, flag in zip(counts, reduced, strict=True) if flag)

    counts = fastest_rows(costs_AR, rows, reduced=reduced, reduced_rows_max=cap)
    assert sum(counts) == rows
    assert held(counts) <= cap
    best = min(largest(costs_AR, other) for other in compositions(agents, rows) if held(other) <= cap)
    assert largest(costs_AR, counts) == best


@given(cost_tables(), st.lists(st.integers(0, 30), min_size=4, max_size=4), st.integers(0, 5))
def test_rows_of_a_synchronous_segment_are_optimal_for_any_costs(
    alone_AR: np.ndarray, latency: list[int], wire: int
) -> None:
    agents, rows = alone_AR.shape
    exposed_AR = alone_AR + np.array(latency[:agents])[:, None] + wire * np.arange(1, rows + 1)
    counts = fastest_coupled_rows(alone_AR, exposed_AR)
    assert sum(counts) == rows
    best = min(coupled(alone_AR, exposed_AR, other) for other in compositions(agents, rows))
    assert coupled(alone_AR, exposed_AR, counts) == pytest.approx(best)


@given(
    st.lists(speed, min_size=1, max_size=4),
    st.integers(1, 130),
    st.integers(1, 30),
    st.sampled_from(Quality),
    st.floats(0, 0.9),
)
def test_every_segment_partitions_the_image_for_any_speeds(
    speeds: list[float], rows: int, steps: int, quality: Quality, fixed_share: float
) -> None:
    request = plan_request(speeds, rows=rows, steps=steps, quality=quality, fixed_share=fixed_share, link=LOOPBACK)
    policy = policy_of(quality)
    plans = GangPlans(request, request.agents, policy=policy)
    for strides in stride_assignments([1 / value for value in speeds], policy.strides):
        for segment in plans.plan(strides).segments:
            assert is_partition((a.rows for a in segment.assignments), rows)
            reduced_rows = sum(a.rows.count for a in segment.assignments if a.stride > 1)
            assert reduced_rows <= policy.reduced_share_max * rows
