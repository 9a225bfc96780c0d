"""Delays between attempts."""

from __future__ import annotations

import pytest

from polyrhythm_agent.daemon.backoff import doubling_delay_s, jittered_delay_s


def test_delays_double_up_to_the_longest() -> None:
    delays_s = [doubling_delay_s(failures, first_s=0.5, longest_s=30.0) for failures in (0, 1, 2, 3, 7, 8, 10_000)]
    assert delays_s == [0.0, 0.5, 1.0, 2.0, 30.0, 30.0, 30.0]


def test_a_negative_number_of_failures_is_a_bug() -> None:
    with pytest.raises(ValueError, match="-1"):
        doubling_delay_s(-1, first_s=0.5, longest_s=30.0)


def test_jitter_spreads_over_the_upper_half() -> None:
    assert [jittered_delay_s(4.0, chance) for chance in (0.0, 0.5)] == [2.0, 3.0]
