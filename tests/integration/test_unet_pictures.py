"""What is the UNets' own: pictures of odd sizes, levels that some lack, guidance that some are told, rows that move.

Tolerance: relative to max |latent|, fp64 1e-9. What all families are held to is in test_gang_pictures and beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from polyrhythm.job.image import ImageSpec
from polyrhythm.plan.plan import Exchange
from tests.oracles.reference import plain_latent, plain_pipeline, relative_difference
from tests.tiny_models.families import FAMILIES
from tests.tiny_models.unets import GUIDED_SDXL, tiny_sdxl_folder
from tests.values.plans import agent_ids, exact_plan, plan, segment
from tests.worlds.gang import kept_members, run_gang

STEPS = 8
TOLERANCE = 1e-9


def image(family: str, **changes: Any) -> ImageSpec:
    return FAMILIES[family].image(steps=STEPS, **changes)


def exact_difference(folder: Path, spec: ImageSpec, counts: tuple[int, ...]) -> float:
    """Between diffusers' picture and that of a gang whose members hold so many row units."""
    members = kept_members(folder, agent_ids(len(counts)), torch.float64)
    runs = run_gang(exact_plan(spec.steps, counts, beat_steps=5), members, spec)
    finals = [run.states[spec.steps].x_BCHW for run in runs.values()]
    assert all(torch.equal(final_BCHW, finals[0]) for final_BCHW in finals)
    assert [run.sent_bytes for run in runs.values()] == [run.predicted_bytes for run in runs.values()]
    pipeline = plain_pipeline(folder, spec.sampler, torch.float64)
    return relative_difference(finals[0], plain_latent(pipeline, spec, finals[0]))


@pytest.mark.parametrize(
    ("family", "height_px", "width_px", "counts"),
    [("sd", 96, 72, (1, 1)), ("sd", 1080, 40, (11, 6)), ("sdxl", 136, 104, (2, 1, 2))],
)
def test_any_multiple_of_8_pixels_will_do(
    folders: Mapping[str, Path], family: str, height_px: int, width_px: int, counts: tuple[int, ...]
) -> None:
    spec = image(family, height_px=height_px, width_px=width_px)
    assert exact_difference(folders[family], spec, counts) <= TOLERANCE


def test_a_unet_may_have_no_middle_block(folders: Mapping[str, Path]) -> None:
    assert exact_difference(folders["small"], image("sdxl"), (9, 7)) <= TOLERANCE


@pytest.mark.parametrize("guidance", [0.0, 1.0, 8.5])
def test_a_unet_that_is_told_the_guidance_runs_once_a_step(tmp_path: Path, guidance: float) -> None:
    folder = tiny_sdxl_folder(tmp_path, **GUIDED_SDXL)
    spec = image("sdxl", guidance=guidance)
    # Counted and sent bytes are compared too: there is one half of each.
    assert exact_difference(folder, spec, (9, 7)) <= TOLERANCE
    (member,) = kept_members(folder, agent_ids(1), torch.float64).values()
    assert member.geometry(spec).batch == member.facts.batch(guidance) == 1


def test_rows_that_move_into_a_displaced_step_are_refused(folders: Mapping[str, Path]) -> None:
    moved = plan(
        segment(0, 4, (8, 8), beat_steps=4), segment(4, STEPS, (9, 7), exchange=Exchange.DISPLACED, beat_steps=4)
    )
    with pytest.raises(ValueError, match="rows move at step 4, which must be synchronous"):
        run_gang(moved, kept_members(folders["sd"], moved.agents, torch.float32), image("sd"))
