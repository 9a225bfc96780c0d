from __future__ import annotations

import numpy as np
import pytest

from polyrhythm_coordinator.scheduling.planning.row_partition import equal_rows, fastest_coupled_rows, fastest_rows


def by_speed(*speeds: float, rows: int = 16) -> np.ndarray:
    return np.outer(1 / np.array(speeds), np.arange(1, rows + 1))


def shared(costs_AR: np.ndarray, *, reduced: tuple[bool, ...] | None = None, limit: int = 0) -> tuple[int, ...]:
    return fastest_rows(
        costs_AR,
        costs_AR.shape[1],
        reduced=reduced or (False,) * len(costs_AR),
        reduced_rows_max=limit,
    )


def test_rows_follow_speed() -> None:
    assert shared(by_speed(1, 1)) == (8, 8)
    assert shared(by_speed(3, 1)) == (12, 4)
    assert shared(by_speed(1, 0.5)) == (11, 5)


def test_ties_go_to_the_agent_named_first() -> None:
    assert shared(by_speed(1, 1, 1)) == (6, 5, 5)


def test_an_agent_whose_first_row_costs_more_than_the_rest_together_gets_none() -> None:
    assert shared(by_speed(1, 0.01)) == (16, 0)


def test_reduced_agents_stay_below_their_limit_together() -> None:
    assert shared(by_speed(1, 2, 2), reduced=(False, True, True), limit=16) == (3, 7, 6)
    assert shared(by_speed(1, 2, 2), reduced=(False, True, True), limit=8) == (8, 4, 4)
    assert shared(by_speed(1, 2, 2), reduced=(False, True, True), limit=0) == (16, 0, 0)


def test_nobody_left_to_hold_the_rest_is_refused() -> None:
    with pytest.raises(ValueError, match="all agents are reduced"):
        shared(by_speed(1, 1), reduced=(True, True), limit=8)


def test_coupled_rows_without_messages_are_plain_rows() -> None:
    costs_AR = by_speed(1, 0.5)
    assert fastest_coupled_rows(costs_AR, costs_AR) == (11, 5)
    assert fastest_coupled_rows(costs_AR[:1], costs_AR[:1]) == (16,)


def test_the_faster_of_two_takes_more_rows_where_messages_are_exposed() -> None:
    alone_AR = by_speed(1, 0.5)
    exposed_AR = alone_AR + 3
    # (11, 5) has the smallest largest exposed cost, 14, but takes (14 + 13) / 2; (12, 4) takes (15 + 11) / 2.
    assert shared(exposed_AR) == (11, 5)
    assert fastest_coupled_rows(alone_AR, exposed_AR) == (12, 4)


def test_messages_that_cost_more_than_the_work_leave_one_agent_alone() -> None:
    alone_AR = by_speed(1, 0.9)
    assert fastest_coupled_rows(alone_AR, alone_AR + 100.0) == (16, 0)


def test_equal_patches_give_left_over_rows_to_the_first_agents() -> None:
    assert equal_rows(2, 16) == (8, 8)
    assert equal_rows(3, 16) == (6, 5, 5)
    assert equal_rows(4, 2) == (1, 1, 0, 0)
