"""A calibration counts for sizes that are alike in every way, whichever of the two sizes was measured."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from polyrhythm_coordinator.scheduling.planning.calibration_trust import SIZE_APART, trusted
from tests.values.calibrations import calibration
from tests.values.plan_requests import plan_request

IMAGE, MEASURED = plan_request([1.0], steps=50).image, calibration(steps=50)
sides_px = st.integers(2, 128).map(lambda units: 8 * units)
sizes_px = st.tuples(sides_px, sides_px)


def counts(measured_px: tuple[int, int], made_px: tuple[int, int]) -> bool:
    one = replace(MEASURED, width_px=measured_px[0], height_px=measured_px[1])
    image = replace(IMAGE, width_px=made_px[0], height_px=made_px[1], guidance=one.guidance)
    return bool(trusted(image, (one,)).calibrations)


def apart(one: int, other: int) -> float:
    return max(one, other) / min(one, other)


@st.composite
def near_sizes(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int]]:
    """Sides of up to four times those of the other: about as many that count as that do not."""
    one = draw(sizes_px)
    other = tuple(max(16, 8 * round(side * draw(st.floats(0.25, 4)) / 8)) for side in one)
    return one, (other[0], other[1])


@given(sizes_px)
def test_the_size_that_was_measured_counts(size_px: tuple[int, int]) -> None:
    assert counts(size_px, size_px)


@given(st.tuples(sizes_px, sizes_px) | near_sizes())
def test_neither_pixels_nor_a_side_nor_the_shape_of_what_counts_is_far_apart(
    both: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    (width, height), (other_width, other_height) = one, other = both
    pixels = apart(width * height, other_width * other_height)
    shape = apart(width * other_height, other_width * height)
    known = counts(one, other)
    assert known is (max(pixels, shape) <= SIZE_APART)
    assert not known or max(apart(width, other_width), apart(height, other_height)) <= SIZE_APART
    assert counts(other, one) is known
    assert counts((height, width), (other_height, other_width)) is known
