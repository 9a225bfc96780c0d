from __future__ import annotations

from polyrhythm_coordinator.scheduling.planning.strides import EXHAUSTIVE_AGENTS_MAX, stride_assignments


def test_everybody_at_full_rate_comes_first_and_the_fastest_never_leaves_it() -> None:
    assert list(stride_assignments([2.0, 1.0, 4.0], (1, 2))) == [(1, 1, 1), (1, 1, 2), (2, 1, 1), (2, 1, 2)]


def test_of_equals_the_first_is_the_fastest() -> None:
    assert list(stride_assignments([1.0, 1.0], (1, 2))) == [(1, 1), (1, 2)]


def test_one_agent_or_one_stride_leaves_no_choice() -> None:
    assert list(stride_assignments([1.0], (1, 2))) == [(1,)]
    assert list(stride_assignments([1.0, 3.0], (1,))) == [(1, 1)]


def test_in_large_gangs_no_agent_has_a_smaller_stride_than_a_faster_one() -> None:
    forward_s = [float(index + 1) for index in range(EXHAUSTIVE_AGENTS_MAX + 1)]
    found = list(stride_assignments(forward_s, (1, 2)))
    assert len(found) == len(forward_s)
    assert all(list(strides) == sorted(strides) for strides in found)
