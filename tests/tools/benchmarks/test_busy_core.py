"""A load that takes a share of a core."""

from __future__ import annotations

import pytest
from busy_core import DEBT_TURNS, TURN_S, programs_for, turn
from hypothesis import given
from hypothesis import strategies as st


@given(st.floats(0.01, 0.9))
def test_every_program_asks_for_less_than_its_even_part(share: float) -> None:
    count = programs_for(share)
    assert share / count < 1 / (count + 1)
    assert count == 1 or share / (count - 1) >= 0.95 / count


@pytest.mark.parametrize("share", [0.0, -0.1, 0.95, 1.0, 2.0])
def test_a_whole_core_cannot_be_taken(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        programs_for(share)


@given(st.floats(0.05, 0.5), st.lists(st.floats(0.0, 0.05), min_size=50, max_size=50))
def test_in_the_long_run_it_takes_its_share_and_never_much_at_once(share: float, delays_s: list[float]) -> None:
    wall_s = used_s = given_up_s = 0.0
    for delay_s in delays_s:
        compute_s, lost_s = turn(share, wall_s, used_s + given_up_s)
        assert 0.0 <= compute_s <= DEBT_TURNS * TURN_S
        used_s, given_up_s = used_s + compute_s, given_up_s + lost_s
        wall_s += compute_s + delay_s + TURN_S
    compute_s, lost_s = turn(share, wall_s, used_s + given_up_s)
    assert used_s + given_up_s + compute_s + lost_s == pytest.approx(share * wall_s, abs=1e-9)


def test_what_it_could_not_have_is_not_caught_up() -> None:
    compute_s, lost_s = turn(0.5, 10.0, 0.0)
    assert compute_s == DEBT_TURNS * TURN_S
    assert lost_s == pytest.approx(5.0 - compute_s)
