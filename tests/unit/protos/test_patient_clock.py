"""The clock by which a process has patience with others."""

from __future__ import annotations

import pytest

from polyrhythm.process.patient_clock import PatientClock

REACH_S = 0.5


def test_nothing_is_left_out_before_the_process_was_seen() -> None:
    assert PatientClock().patient_now_s(100.0, REACH_S) == 100.0


def test_of_a_pause_no_more_counts_than_the_reach() -> None:
    clock = PatientClock().seen(10.0, REACH_S)
    assert clock.patient_now_s(10.4, REACH_S) == 10.4
    assert clock.patient_now_s(30.0, REACH_S) == clock.patient_now_s(99.0, REACH_S) == 10.5


def test_it_goes_on_from_where_it_rested_and_each_pause_counts_once() -> None:
    clock = PatientClock().seen(10.0, REACH_S).seen(30.0, REACH_S)
    assert clock.patient_now_s(30.0, REACH_S) == pytest.approx(10.5)
    assert clock.seen(30.2, REACH_S).patient_now_s(30.3, REACH_S) == pytest.approx(10.8)


def test_it_never_runs_backwards() -> None:
    clock, seen_at_s, last_s = PatientClock(), {1.0, 1.2, 3.0, 3.1, 9.0}, 0.0
    for tenth in range(100):
        now_s = tenth / 10
        before_s = clock.patient_now_s(now_s, REACH_S)
        clock = clock.seen(now_s, REACH_S) if now_s in seen_at_s else clock
        assert last_s <= before_s == pytest.approx(clock.patient_now_s(now_s, REACH_S))
        last_s = before_s
