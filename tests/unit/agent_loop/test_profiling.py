"""The measured line t(rows) = fixed + per_row * rows."""

from __future__ import annotations

import pytest

from polyrhythm_agent.profiling import fit_line, row_counts


def test_an_exact_line_is_found() -> None:
    assert fit_line([(16, 0.1 + 16 * 0.02), (8, 0.1 + 8 * 0.02), (4, 0.1 + 4 * 0.02)]) == pytest.approx((0.1, 0.02))


def test_a_negative_intercept_becomes_a_line_through_the_origin() -> None:
    fixed_s, per_row_s = fit_line([(16, 0.32), (8, 0.12)])
    assert fixed_s == 0.0
    assert 0.015 < per_row_s < 0.02


def test_one_point_gives_a_proportional_cost() -> None:
    assert fit_line([(4, 0.2)]) == pytest.approx((0.0, 0.05))


@pytest.mark.parametrize(("rows", "expected"), [(16, (16, 12, 8, 4)), (3, (3, 2, 1)), (1, (1,))])
def test_row_counts_span_the_picture(rows: int, expected: tuple[int, ...]) -> None:
    assert row_counts(rows) == expected
