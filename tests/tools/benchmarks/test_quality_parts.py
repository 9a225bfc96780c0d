"""Parts of the quality benchmark: regions of a plan, distances, and which plans are compared."""

from __future__ import annotations

import numpy as np
import pytest
from quality_study.regions import distances, regions_of
from quality_study.variants import compared_plans, half_steps

from polyrhythm.job.image import Quality
from polyrhythm.plan.plan import Exchange
from tests.values.plan_requests import FACTS, image
from tests.values.plans import plan, segment


def test_regions_are_rows_by_stride_and_a_band_around_each_seam() -> None:
    strided = plan(
        segment(0, 4, (10, 6), beat_steps=4),
        segment(4, 20, (9, 7), exchange=Exchange.DISPLACED, strides=(1, 2), beat_steps=4),
    )
    regions = regions_of(strided, row_unit_px=8, height_px=128)
    assert np.flatnonzero(regions.seam).tolist() == list(range(64, 80))
    assert np.flatnonzero(regions.fast).tolist() == list(range(64))
    assert np.flatnonzero(regions.slow).tolist() == list(range(80, 128))


def test_a_picture_of_one_device_has_neither_slow_rows_nor_seams() -> None:
    regions = regions_of(half_steps(20, 16), row_unit_px=8, height_px=128)
    assert regions.fast.all()
    assert not regions.slow.any()
    assert not regions.seam.any()


def test_a_difference_is_seen_where_it_is() -> None:
    draw = np.random.default_rng(0)
    reference_HW3 = draw.integers(0, 200, (128, 128, 3), dtype=np.uint8)
    image_HW3 = reference_HW3.copy()
    image_HW3[80:] += 10
    strided = plan(
        segment(0, 4, (9, 7), beat_steps=4),
        segment(4, 20, (9, 7), exchange=Exchange.DISPLACED, strides=(1, 2), beat_steps=4),
    )
    found = distances(image_HW3, reference_HW3, regions_of(strided, row_unit_px=8, height_px=128))
    assert found.psnr_by_region_db["fast"] == 100.0
    assert found.psnr_by_region_db["seam"] == 100.0
    assert found.psnr_by_region_db["slow"] == pytest.approx(28.13, abs=0.01)  # 10 log10(255^2 / 10^2)
    assert found.psnr_db == pytest.approx(28.13 + 10 * np.log10(128 / 48), abs=0.01)
    assert 0.9 < found.ms_ssim < 1.0


@pytest.mark.parametrize("steps", [20, 21])
def test_half_the_steps_reach_the_end(steps: int) -> None:
    halved = half_steps(steps, 16)
    forwards = sum(len(beat.active_steps(halved.agents[0])) for beat in halved.beats())
    assert halved.steps == steps
    assert forwards == -(-steps // 2)


def test_every_plan_makes_the_whole_picture() -> None:
    plans = compared_plans(FACTS, image(quality=Quality.BALANCED, steps=20), (1.0, 0.5))
    assert {name: one.steps for name, one in plans.items() if name != "rows only, fewer steps"} == dict.fromkeys(
        plans.keys() - {"rows only, fewer steps"}, 20
    )
    assert plans["rows only, fewer steps"].steps < 20
    assert max(plans["rows + strides"].segments[1].strides) == 2
