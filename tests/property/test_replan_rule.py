"""Hysteresis: noise changes no plan, a step change does within a few beats, whatever the noise around it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polyrhythm_coordinator.scheduling.replan_rule import BEATS, SpeedWatch, worth_switching

NOISE = st.floats(0.9, 1.1)
RATIOS = st.floats(0.2, 5.0)


@given(ratio=RATIOS, noise=st.lists(NOISE, max_size=200), weighed_at=st.sets(st.integers(0, 199)))
def test_noise_of_a_tenth_around_a_steady_speed_is_never_a_change(
    ratio: float, noise: list[float], weighed_at: set[int]
) -> None:
    watch = SpeedWatch(known=ratio, last=(ratio,))
    for beat, factor in enumerate(noise):
        watch = watch.seen(ratio * factor, 1.0)
        assert not watch.departed
        if beat in weighed_at:  # for the sake of another member
            watch = watch.weighed()


@given(
    ratio=RATIOS,
    before=st.lists(NOISE, max_size=20),
    after=st.lists(NOISE, min_size=BEATS, max_size=BEATS),
    slower=st.booleans(),
    partly=st.floats(0.0, 1.0),
)
def test_a_step_change_by_two_is_seen_once_so_many_beats_were_under_it(
    ratio: float, before: list[float], after: list[float], slower: bool, partly: float
) -> None:
    watch = SpeedWatch(known=ratio)
    for factor in before:
        watch = watch.seen(ratio * factor, 1.0)
    changed = 2.0 if slower else 0.5
    watch = watch.seen(ratio * (1.0 + partly * (changed - 1.0)), 1.0)
    for factor in after:
        watch = watch.seen(ratio * changed * factor, 1.0)
    assert watch.departed
    assert 0.89 <= watch.ratio / (ratio * changed) <= 1.11
    assert not watch.weighed().seen(ratio * changed, 1.0).departed


@given(rest_s=st.floats(0.0, 1e4), share=st.floats(0.95, 2.0), switch_s=st.floats(0.0, 10.0))
def test_a_small_gain_is_no_gain(rest_s: float, share: float, switch_s: float) -> None:
    assert not worth_switching(rest_s, rest_s * share + 1e-9, switch_s)


@given(rest_s=st.floats(1.0, 1e4), switch_s=st.floats(0.0, 0.1))
def test_a_large_gain_is_taken(rest_s: float, switch_s: float) -> None:
    assert worth_switching(rest_s, rest_s * 0.8, switch_s)


@given(seconds=st.sampled_from([0.0, -1.0]))
def test_beats_without_forwards_say_nothing(seconds: float) -> None:
    watch = SpeedWatch()
    assert watch.seen(1.0, seconds) is watch
    assert watch.seen(seconds, 1.0) is watch
