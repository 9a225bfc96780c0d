"""A calibration from the command to the plan: real step loop and exchange, a model of a few thousand parameters."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from polyrhythm.errors import InvalidArgumentError
from polyrhythm.job.image import ImageSpec, Quality
from polyrhythm.model.request_choices import Sampler
from polyrhythm.plan.plan import Exchange
from polyrhythm_agent.calibration.command import calibrate
from polyrhythm_agent.calibration.file import with_calibration
from polyrhythm_agent.calibration.gang import InProcessGang
from polyrhythm_agent.calibration.measure import measure_picture, probe_count
from polyrhythm_agent.calibration.options import parser, read_task
from polyrhythm_agent.calibration.probes import MEMBERS_MAX, MEMBERS_MIN, grid_of, joints, reference_plan
from polyrhythm_agent.denoiser.loading import load_denoiser
from polyrhythm_client.cli.commands.calibrate import CalibrateOptions
from polyrhythm_client.local.calibration import run_calibration
from tests.oracles.simulator import PlanSimulator
from tests.tiny_models.transformers import tiny_pixart_folder
from tests.values.plans import plan, segment

AGENT = (sys.executable, "-m", "polyrhythm_agent.daemon.main")
STEPS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pixart_folder(tmp_path_factory.mktemp("model") / "tiny")


def picture(*, steps: int = STEPS) -> ImageSpec:
    return ImageSpec(
        model="tiny",
        prompt="a red apple",
        width_px=64,
        height_px=64,
        steps=steps,
        seed=3,
        guidance=4.0,
        sampler=Sampler.DPM_SOLVER_PP_2M,
        quality=Quality.EXACT,
    )


@pytest.fixture(scope="module")
def gang(folder: Path) -> InProcessGang:
    return InProcessGang([load_denoiser(folder, model="tiny", dtype=torch.float64) for _ in range(MEMBERS_MAX)])


def test_the_gang_makes_the_picture_that_a_plan_means(gang: InProcessGang) -> None:
    displaced = plan(
        segment(0, 2, (5, 3)), segment(2, 8, (5, 3), exchange=Exchange.DISPLACED, strides=(1, 2), beat_steps=2)
    )
    merged = plan(segment(0, 4, (8,), exchange=Exchange.DISPLACED, strides=(2,)), segment(4, 8, (8,)))
    condition = gang.denoiser.encode(picture())
    for each in (displaced, merged):
        made = gang.denoise(each, picture(), condition)[STEPS].x_BCHW
        meant = PlanSimulator(gang.denoiser.start(picture(), condition)).simulate(each)[STEPS].x_BCHW
        assert float((made - meant).abs().max()) <= 1e-9 * max(1.0, float(meant.abs().max()))


def test_a_probe_goes_on_from_the_reference(gang: InProcessGang) -> None:
    condition = gang.denoiser.encode(picture())
    reference = gang.denoise(reference_plan(STEPS, 8), picture(), condition)
    alone = plan(segment(5, 8, (5, 3), beat_steps=1), begin_step=5)
    resumed = gang.denoise(alone, picture(), condition, reference[5])[STEPS].x_BCHW
    assert float((resumed - reference[STEPS].x_BCHW).abs().max()) <= 1e-9 * float(resumed.abs().max())


def test_a_member_that_fails_ends_the_others(gang: InProcessGang) -> None:
    two = plan(segment(0, 8, (4, 4)))
    with pytest.raises(KeyError, match="text_BLT"):
        gang.denoise(two, picture(), {})


def test_every_disturbance_leaves_an_error(gang: InProcessGang) -> None:
    grid, runs = grid_of(STEPS, Sampler.DPM_SOLVER_PP_2M), []
    found = measure_picture(gang, picture(), grid, lambda: runs.append(1), in_full=True)
    assert len(runs) == probe_count(grid, members=MEMBERS_MAX, in_full=True)
    assert found.single is not None
    assert (found.single.products_DD.diagonal() > 1e-12).all()
    assert (found.joint_mse_J > 1e-12).all()
    assert found.single.products_DD == pytest.approx(found.single.products_DD.T)
    further = measure_picture(gang, picture(), grid, lambda: runs.append(1), in_full=False)
    assert len(runs) == sum(probe_count(grid, members=MEMBERS_MAX, in_full=in_full) for in_full in (True, False))
    for_all = [joint.for_all for joint in joints(grid)]
    assert further.joint_mse_J[for_all] == pytest.approx(found.joint_mse_J[for_all])
    assert np.isnan(further.joint_mse_J[np.logical_not(for_all)]).all()


async def test_the_command_writes_the_file_that_agents_report(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    wish = CalibrateOptions(model=str(folder), pictures=1, level_pictures=1, steps=str(STEPS), members=MEMBERS_MIN)
    calibrated = await run_calibration(wish.arguments(), AGENT, lambda done, total: seen.append((done, total)))
    assert calibrated.path == folder / "calibration.json"
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1] == len(seen) - 1
    assert not any(name.endswith(".partial") for name in os.listdir(folder))
    facts = load_denoiser(folder, model="tiny").facts
    (reported,) = with_calibration(facts, folder).calibrations
    assert (reported.sampler, reported.steps, reported.pictures) == (facts.samplers[0], STEPS, 2)
    size = facts.default_width_px, facts.default_height_px
    assert (reported.width_px, reported.height_px, reported.guidance) == (*size, facts.default_guidance)
    fewer = read_task(parser().parse_args(replace(wish, level_pictures=0).arguments()))
    with pytest.raises(InvalidArgumentError, match=r"--pictures: .* of 2 pictures, 1 of .* --replace does that"):
        calibrate(fewer, lambda **_: None)


async def test_bad_input_names_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """By way of the client and two programs; each option alone: ``tests/unit/agent/calibration/test_options.py``."""
    for wish, told in (
        (CalibrateOptions(model="demo-transformer", steps="3"), "^steps: must be 8..250, got 3$"),
        (CalibrateOptions(model="demo-transformer", threads=0), "^threads: must be at least 1, got 0$"),
        (CalibrateOptions(model="demo-transformer", device="cuda:99"), "^device: cuda:99 cannot be used"),
    ):
        with pytest.raises(InvalidArgumentError, match=told):
            await run_calibration(wish.arguments(), AGENT, lambda *_: None)
    monkeypatch.setenv("POLYRHYTHM_AGENT_DTYPE", "float8")
    with pytest.raises(InvalidArgumentError, match=r"^POLYRHYTHM_AGENT_DTYPE: must be one of auto"):
        await run_calibration(CalibrateOptions(model="demo-transformer").arguments(), AGENT, lambda *_: None)


async def test_a_calibration_that_is_given_up_leaves_no_process(folder: Path) -> None:
    begun = asyncio.Event()
    wish = CalibrateOptions(model=str(folder), pictures=1000, level_pictures=0, steps=str(STEPS))
    task = asyncio.create_task(run_calibration(wish.arguments(), AGENT, lambda *_: begun.set()))
    await asyncio.wait_for(begun.wait(), 100)
    running = [child for child in psutil.Process().children() if "polyrhythm_agent.calibration" in child.cmdline()]
    assert len(running) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running[0].is_running()
