"""What an agent tells at once: every change of its pace, and nothing as long as it keeps it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polyrhythm.session.pace import BEATS, Pace

NOISE = st.lists(st.floats(0.9, 1.1), min_size=1, max_size=4)
PACES = st.floats(1e-3, 10.0)


@given(pace_s=PACES, beats=st.lists(NOISE, max_size=30))
def test_a_steady_pace_is_never_told_at_once(pace_s: float, beats: list[list[float]]) -> None:
    pace = Pace()
    for noise in beats:
        pace = pace.after(8, [pace_s * factor for factor in noise])
        assert not pace.changed


@given(pace_s=PACES, factor=st.sampled_from([0.5, 2.0]), before=st.lists(NOISE, min_size=1, max_size=5))
def test_a_change_is_told_at_once_until_it_is_the_pace(pace_s: float, factor: float, before: list[list[float]]) -> None:
    pace = Pace()
    for noise in before:
        pace = pace.after(8, [pace_s * one for one in noise])
    told: list[bool] = []
    for _ in range(2 * BEATS):
        pace = pace.after(8, [factor * pace_s])
        told.append(pace.changed)
    assert told == [True] * (BEATS - 1) + [False] * (BEATS + 1)


@given(pace_s=PACES, other_s=PACES)
def test_other_rows_have_a_pace_of_their_own(pace_s: float, other_s: float) -> None:
    pace = Pace().after(8, [pace_s]).after(12, [other_s])
    assert not pace.changed
    assert pace.after(12, []) is pace
