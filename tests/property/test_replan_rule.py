"""Hysteresis: noise and hiccups change no plan, a step change does within a few forwards, whatever the noise on it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyrhythm_coordinator.scheduling.planning.speed_change import (
    MOMENT_S,
    SpeedWatch,
    times_evidence,
    worth_switching,
)

NOISE = st.floats(0.9, 1.1)
RATIOS = st.floats(0.2, 5.0)


@given(ratio=RATIOS, noise=st.lists(NOISE, max_size=200), weighed_at=st.sets(st.integers(0, 199)))
def test_noise_of_a_tenth_around_a_steady_speed_is_never_a_change(
    ratio: float, noise: list[float], weighed_at: set[int]
) -> None:
    watch = SpeedWatch(known=ratio, last=(ratio,))
    for step, factor in enumerate(noise):
        watch = watch.seen([ratio * factor], 1.0)
        assert not watch.departed
        if step in weighed_at:  # for the sake of another member
            watch = watch.weighed()


@given(
    ratio=RATIOS,
    noise=st.lists(NOISE, min_size=1, max_size=60),
    every=st.integers(3, 20),
    factor=st.sampled_from([3.0, 100.0, 1 / 3]),
    beat=st.integers(1, 4),
)
def test_one_forward_out_of_step_is_never_a_change_even_if_another_one_follows_later(
    ratio: float, noise: list[float], every: int, factor: float, beat: int
) -> None:
    watch = SpeedWatch(known=ratio)
    step_s = [ratio * one * (factor if index % every == 1 else 1.0) for index, one in enumerate(noise)]
    for begin in range(0, len(step_s), beat):
        watch = watch.seen(step_s[begin : begin + beat], 1.0)
        assert not watch.departed


@given(
    ratio=RATIOS,
    before=st.lists(NOISE, max_size=20),
    after=st.lists(NOISE, min_size=2, max_size=8),
    slower=st.booleans(),
    partly=st.floats(0.0, 1.0),
)
def test_a_step_change_by_two_is_seen_after_two_forwards(
    ratio: float, before: list[float], after: list[float], slower: bool, partly: float
) -> None:
    watch = SpeedWatch(known=ratio)
    for factor in before:
        watch = watch.seen([ratio * factor], 1.0)
    changed = 2.0 if slower else 0.5
    watch = watch.seen([ratio * (1.0 + partly * (changed - 1.0))], 1.0)
    watch = watch.seen([ratio * changed * factor for factor in after], 1.0)
    assert watch.departed
    assert 0.89 <= watch.ratio / (ratio * changed) <= 1.11
    assert not watch.weighed().seen([ratio * changed], 1.0).departed


@given(ratio=RATIOS, change=st.floats(1.3, 1.5), slower=st.booleans())
def test_a_small_change_takes_more_forwards_and_is_seen(ratio: float, change: float, slower: bool) -> None:
    watch, present = SpeedWatch(known=ratio), ratio * change if slower else ratio / change
    watch = watch.seen([present] * 2, 1.0)
    assert not watch.departed
    assert watch.seen([present] * 10, 1.0).departed


@given(step_s=st.floats(1e-4, 1.0), forwards=st.integers(1, 50))
def test_what_is_over_in_a_moment_is_no_change(step_s: float, forwards: int) -> None:
    watch = SpeedWatch().seen([2 * step_s] * forwards, step_s)
    if watch.departed:
        assert sum([2 * step_s] * forwards) >= MOMENT_S - 1e-9
        assert watch.ratio == pytest.approx(2.0)


@given(rest_s=st.floats(0.0, 1e4), share=st.floats(0.95, 2.0), switch_s=st.floats(0.0, 10.0))
def test_a_small_gain_is_no_gain(rest_s: float, share: float, switch_s: float) -> None:
    assert not worth_switching(rest_s, rest_s * share + 1e-9, switch_s)


@given(rest_s=st.floats(1.0, 1e4), switch_s=st.floats(0.0, 0.1))
def test_a_large_gain_is_taken(rest_s: float, switch_s: float) -> None:
    assert worth_switching(rest_s, rest_s * 0.8, switch_s)


@given(seconds=st.sampled_from([0.0, -1.0]))
def test_beats_without_forwards_say_nothing(seconds: float) -> None:
    watch = SpeedWatch()
    assert watch.seen([1.0], seconds) is watch
    assert watch.seen([seconds], 1.0) is watch
    assert watch.seen([], 1.0) is watch


@given(plans=st.integers(0, 30))
def test_plans_that_follow_one_another_ask_for_ever_more_evidence_up_to_a_bound(plans: int) -> None:
    times = times_evidence(plans)
    assert 1 <= times <= times_evidence(plans + 1) <= 2 * times
    assert times_evidence(1) == 1, "a load that comes and goes is followed twice as fast as ever"
    watch = SpeedWatch(times=times)
    assert not watch.seen([2.0], 1.0).departed
    assert watch.seen([2.0] * 12, 1.0).departed, "a real change is seen, however many plans there were"
    assert watch.weighed().times == times
